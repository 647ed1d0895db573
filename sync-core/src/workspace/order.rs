//! What a workspace is to be like.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, ErrorKind};
use crate::port::check_host_name;

/// What a workspace is to be like: the params of its saga. What it does not say is as the site's defaults say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WorkspaceOrder {
    /// The image of its container, which the host has.
    pub image: Option<String>,
    /// What runs in it; what the image says, where nobody says anything.
    pub command: Option<Vec<String>>,
    /// Variables of its environment.
    pub env: BTreeMap<String, String>,
    /// Commands that are run in it one after the other before it counts as there, each with its arguments. They have to
    /// stand being run again.
    pub setup: Option<Vec<Vec<String>>>,
    /// The host it is placed on; the one with the fewest, where nobody says.
    pub host: Option<String>,
    /// The name it is found under.
    pub host_name: Option<String>,
    /// Bytes of memory, at most.
    pub memory: Option<u64>,
    /// Processors, at most.
    pub cpus: Option<f64>,
    /// Processes, at most.
    pub pids: Option<u32>,
}

impl WorkspaceOrder {
    /// Of the params of a saga.
    ///
    /// # Errors
    /// `Refused` when they are none, saying what is wrong.
    pub fn read(params: &Value) -> Result<Self, Error> {
        let refused = |what: String| Error::new(ErrorKind::Refused, format!("the workspace's params: {what}"));
        let order = Self::deserialize(params).map_err(|error| refused(error.to_string()))?;
        if let Some(name) = &order.host_name {
            check_host_name(name).map_err(|error| refused(format!("host_name: {error}")))?;
        }
        if order.cpus.is_some_and(|cpus| !(0.01..=10_000.0).contains(&cpus)) {
            return Err(refused("cpus: a number from 0.01 on".to_owned()));
        }
        if order.memory.is_some_and(|bytes| bytes == 0 || i64::try_from(bytes).is_err()) || order.pids == Some(0) {
            return Err(refused("memory, pids: a limit is a number above zero; without one there is none".to_owned()));
        }
        if order.setup.iter().flatten().any(Vec::is_empty) {
            return Err(refused("setup: a command has at least one word".to_owned()));
        }
        if let Some(name) = order.env.keys().find(|name| name.is_empty() || name.contains('=')) {
            return Err(refused(format!("env: {name:?} is no name of a variable")));
        }
        let has_nul = order.env.values().chain(order.command.iter().flatten()).any(|text| text.contains('\0'));
        if has_nul {
            return Err(refused("no text may hold a NUL".to_owned()));
        }
        Ok(order)
    }

    /// This, and what it leaves open as `defaults` say; variables of both.
    #[must_use]
    pub fn or(mut self, defaults: &Self) -> Self {
        for (name, value) in &defaults.env {
            self.env.entry(name.clone()).or_insert_with(|| value.clone());
        }
        Self {
            image: self.image.or_else(|| defaults.image.clone()),
            command: self.command.or_else(|| defaults.command.clone()),
            env: self.env,
            setup: self.setup.or_else(|| defaults.setup.clone()),
            host: self.host.or_else(|| defaults.host.clone()),
            host_name: self.host_name.or_else(|| defaults.host_name.clone()),
            memory: self.memory.or(defaults.memory),
            cpus: self.cpus.or(defaults.cpus),
            pids: self.pids.or(defaults.pids),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn params_that_are_none_are_refused_with_what_is_wrong() {
        for (params, told) in [
            (json!("x"), "expected struct"),
            (json!({ "imgae": "x" }), "unknown field `imgae`"),
            (json!({ "setup": "make" }), "invalid type"),
            (json!({ "setup": [["make"], []] }), "at least one word"),
            (json!({ "host_name": "a b" }), "host_name: \"a b\""),
            (json!({ "cpus": -1 }), "cpus"),
            (json!({ "memory": 0 }), "memory"),
            (json!({ "memory": u64::MAX }), "memory"),
            (json!({ "pids": 0 }), "pids"),
            (json!({ "env": { "A=B": "1" } }), "env"),
        ] {
            let error = WorkspaceOrder::read(&params).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused);
            assert!(error.to_string().contains(told), "{error}");
        }
        assert_eq!(WorkspaceOrder::read(&json!({})).unwrap(), WorkspaceOrder::default());
    }

    #[test]
    fn what_an_order_says_is_kept_and_what_it_leaves_open_is_as_the_defaults_say() {
        let defaults = json!({ "image": "a", "setup": [["make"]], "env": { "A": "1", "B": "1" }, "memory": 5 });
        let order = json!({ "image": "b", "setup": [], "env": { "B": "2" }, "pids": 7 });
        let both = WorkspaceOrder::read(&order).unwrap().or(&WorkspaceOrder::read(&defaults).unwrap());
        let expected = json!({ "image": "b", "setup": [], "env": { "A": "1", "B": "2" }, "memory": 5, "pids": 7 });
        assert_eq!(both, WorkspaceOrder::read(&expected).unwrap());
    }
}
