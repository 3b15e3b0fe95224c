//! What a node tells, as lines of the log.

use crate::container::instance::LogLevel;
use crate::node::Event;

/// Writes an event to the log.
pub(super) fn log(event: &Event) {
    match event {
        Event::Log { instance, level, text } => match level {
            LogLevel::Debug => tracing::debug!(target: "module", instance, "{text}"),
            LogLevel::Info => tracing::info!(target: "module", instance, "{text}"),
            LogLevel::Warn => tracing::warn!(target: "module", instance, "{text}"),
        },
        Event::Started { instance } => tracing::info!("instance {instance} runs"),
        Event::Erred { instance, fault } => tracing::warn!("instance {instance}: {fault}"),
        Event::Failed { instance, fault, restart_in: Some(wait) } => {
            tracing::warn!("instance {instance} failed: {fault}; it is started again in {} s", wait.as_secs_f64());
        }
        Event::Failed { instance, fault, restart_in: None } => {
            tracing::warn!(
                "instance {instance} failed for good: {fault}; `netserv module unload {instance}` frees its name"
            );
        }
        Event::OverBudget { instance, limit, .. } => {
            tracing::warn!("instance {instance} has reached its limit {limit}; `netserv status` counts how often");
        }
        Event::Unloaded { instance } => tracing::info!("instance {instance} is unloaded"),
        Event::Note(text) => tracing::info!("{text}"),
        // Only who started to signal wants to know that.
        Event::Signal(_) => {}
    }
}
