//! The name of a workspace.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::{Site, address};
use crate::error::{Error, ErrorKind};
use crate::saga::{SagaStep, StepContext};

/// Takes a name that nobody has, and tells the world of it.
#[derive(Debug)]
pub(super) struct PublishHostName(pub(super) Arc<Site>);

#[async_trait]
impl SagaStep for PublishHostName {
    fn name(&self) -> &'static str {
        "host_name"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        let wanted = self.0.order(&context)?.host_name;
        let Some(host_names) = &self.0.host_names else {
            return if wanted.is_none() {
                Ok(Value::Null)
            } else {
                let what = "workspaces.host_names: the workspace wants a name, and there is nowhere to tell it";
                Err(Error::new(ErrorKind::Refused, what))
            };
        };
        let own = || self.0.domain.as_ref().map(|domain| format!("{}.{domain}", context.subject));
        // Two names that differ by case are one.
        let Some(name) = wanted.or_else(own).map(|name| name.to_ascii_lowercase()) else { return Ok(Value::Null) };
        let address = context.outputs.get(address::NAME).and_then(Value::as_str);
        let address: IpAddr = address.and_then(|address| address.parse().ok()).ok_or_else(|| {
            let what =
                format!("the name {name} needs an address, and the workspace's host has none (workspaces.hosts)");
            Error::new(ErrorKind::Refused, what)
        })?;
        self.0.placements.take_host_name(context.subject, &name).await?;
        host_names.publish(context.subject, &name, address).await?;
        Ok(Value::String(name))
    }

    async fn undo(&self, context: StepContext<'_>) -> Result<(), Error> {
        match &self.0.host_names {
            Some(host_names) => host_names.withdraw(context.subject).await?,
            None => {
                let placement = self.0.placements.get(context.subject).await?;
                if let Some(name) = placement.and_then(|placement| placement.host_name) {
                    let what =
                        format!("workspaces.host_names: the name {name} is told somewhere, and here is no directory");
                    return Err(Error::new(ErrorKind::Refused, what));
                }
            }
        }
        self.0.placements.give_host_name_back(context.subject).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::adapter::memory::{MemoryHostNames, MemoryPlacements, MemoryWorkspaces};
    use crate::port::{HostNames, Placements as _};
    use crate::workspace::WorkspaceOrder;

    fn site(placements: &MemoryPlacements, host_names: Option<Arc<dyn HostNames>>) -> Arc<Site> {
        Arc::new(Site {
            hosts: Vec::new(),
            workspaces: Arc::new(MemoryWorkspaces::default()),
            placements: Arc::new(placements.clone()),
            host_names,
            domain: None,
            defaults: WorkspaceOrder::default(),
        })
    }

    #[tokio::test]
    async fn a_name_is_not_given_back_by_a_process_that_does_not_know_where_it_is_told() {
        let placements = MemoryPlacements::default();
        let step = PublishHostName(site(&placements, None));
        let outputs = BTreeMap::new();
        let context = StepContext { saga: 1, subject: "a", params: &Value::Null, outputs: &outputs };
        placements.place("a", "one").await.unwrap();
        step.undo(context).await.unwrap();
        placements.take_host_name("a", "a.example").await.unwrap();
        let error = step.undo(context).await.unwrap_err();
        assert!(error.to_string().starts_with("workspaces.host_names: "), "{error}");
        assert!(placements.get("a").await.unwrap().unwrap().host_name.is_some());
    }

    #[tokio::test]
    async fn two_names_that_differ_by_case_are_one_and_the_second_workspace_does_not_get_it() {
        let placements = MemoryPlacements::default();
        let site = site(&placements, Some(Arc::new(MemoryHostNames::default())));
        let outputs = BTreeMap::from([(address::NAME.to_owned(), json!("10.0.0.1"))]);
        let take = async |subject: &str, name: &str| {
            placements.place(subject, "one").await.unwrap();
            let params = json!({ "host_name": name });
            PublishHostName(Arc::clone(&site))
                .act(StepContext { saga: 1, subject, params: &params, outputs: &outputs })
                .await
        };
        assert_eq!(take("a", "Blue.Example").await.unwrap(), "blue.example");
        assert_eq!(take("b", "BLUE.example").await.unwrap_err().kind(), ErrorKind::Refused);
    }
}
