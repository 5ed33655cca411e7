//! DescribeConfigs, AlterConfigs, IncrementalAlterConfigs and ListConfigResources.
//!
//! Topics have configs that can be altered, and so have the broker's settings that `config::dynamic` lets change while
//! it runs, client metrics subscriptions and loggers. Group configs have no entries here, which is what they are answered
//! with.

mod alter;
mod describe;

pub use alter::{alter, incremental_alter};
pub use describe::{describe, list_resources};

use super::refusal::Refusal;
use crate::request::RequestContext;

/// Kafka's `ConfigResource.Type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResourceType {
    Topic,
    Broker,
    BrokerLogger,
    ClientMetrics,
    Group,
}

impl ResourceType {
    fn parse(code: i8) -> Option<Self> {
        match code {
            2 => Some(Self::Topic),
            4 => Some(Self::Broker),
            8 => Some(Self::BrokerLogger),
            16 => Some(Self::ClientMetrics),
            32 => Some(Self::Group),
            _ => None,
        }
    }

    const fn code(self) -> i8 {
        match self {
            Self::Topic => 2,
            Self::Broker => 4,
            Self::BrokerLogger => 8,
            Self::ClientMetrics => 16,
            Self::Group => 32,
        }
    }
}

/// Checks that a resource name is this broker's id.
fn check_broker_id(ctx: &RequestContext, name: &str, or_empty: &str) -> Result<(), Refusal> {
    let node = ctx.broker.config.node.node_id;
    match name.parse::<i32>() {
        Ok(id) if id == node => Ok(()),
        Ok(_) => Err(Refusal::invalid_request(format!(
            "Unexpected broker id, expected {node}{or_empty}, but received {name}"
        ))),
        Err(_) => Err(Refusal::invalid_request(format!("Broker id must be an integer, but it is: {name}"))),
    }
}

#[cfg(test)]
mod tests;
