//! What is done in a workspace's container before the workspace counts as there.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::Value;

use super::Site;
use crate::error::{Error, ErrorKind};
use crate::saga::{SagaStep, StepContext};

/// Characters of the end of what a command wrote that its error quotes.
const QUOTED: usize = 4_000;

/// Runs the commands of the set-up, one after the other.
#[derive(Debug)]
pub(super) struct SetUp(pub(super) Arc<Site>);

#[async_trait]
impl SagaStep for SetUp {
    fn name(&self) -> &'static str {
        "setup"
    }

    async fn act(&self, context: StepContext<'_>) -> Result<Value, Error> {
        let (host, order) = (self.0.placed_on(&context)?, self.0.order(&context)?);
        let commands = order.setup.unwrap_or_default();
        for command in &commands {
            let executed = host.containers.execute(context.subject, command).await?;
            if executed.code != 0 {
                let what = format!(
                    "`{}` ended with code {}; it wrote: {}",
                    command.join(" "),
                    executed.code,
                    end_of(&executed.output)
                );
                return Err(Error::new(ErrorKind::Unexplained, what));
            }
        }
        Ok(commands.len().into())
    }

    /// Goes with the container.
    async fn undo(&self, _: StepContext<'_>) -> Result<(), Error> {
        Ok(())
    }
}

fn end_of(output: &str) -> &str {
    let begin = output.char_indices().rev().nth(QUOTED - 1).map_or(0, |(at, _)| at);
    &output[begin..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_output_the_end_is_quoted() {
        assert_eq!(end_of("short"), "short");
        let long = "ö".repeat(QUOTED) + "end";
        assert_eq!(end_of(&long).chars().count(), QUOTED);
        assert!(end_of(&long).ends_with("end"));
    }
}
