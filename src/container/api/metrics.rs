//! Behind `@netserv/metrics`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::base::limits::METRIC_TEXT_BYTES_MAX;
use crate::blocks::metrics::Kind;
use crate::container::api::Answer;
use crate::container::api::block::{Block, item};
use crate::container::vm::arguments::Arguments;
use crate::container::vm::host::Host;

pub(crate) const BLOCK: Block = Block {
    name: "metrics",
    summary: "Numbers for monitoring: gauges, counters, histograms.",
    about: "A running node shows them in the text format of Prometheus: `netserv metrics`. Each has the label `instance`. A name is \
            letters, digits and `_`. At most 1,024 metrics in all, each set of labels counted, and of histograms each bound, so never make a label of what \
            strangers send. They begin anew when the instance is started again. Counters of the manifest (`ctx:counter`) are \
            faster, and shown as well.",
    types: "export type Labels = { [string]: string }\n\
            export type Gauge = {\n  \
              set: (self: Gauge, value: number, labels: Labels?) -> (),\n  \
              add: (self: Gauge, value: number, labels: Labels?) -> (),\n  \
              value: (self: Gauge, labels: Labels?) -> number,\n\
            }\n\
            export type MetricCounter = {\n  \
              add: (self: MetricCounter, value: number?, labels: Labels?) -> (),\n  \
              value: (self: MetricCounter, labels: Labels?) -> number,\n\
            }\n\
            export type Histogram = { observe: (self: Histogram, value: number, labels: Labels?) -> () }",
    items: &[
        item("gauge", "(name: string, help: string?) -> Gauge", "A number that goes up and down."),
        item("counter", "(name: string, help: string?) -> MetricCounter", "A number that only goes up."),
        item(
            "histogram",
            "(name: string, bounds: { number }, help: string?) -> Histogram",
            "How many of the values that were observed are at most each bound; at most 64 bounds, which go up.",
        ),
        item("Gauge.set", "(self: Gauge, value: number, labels: Labels?) -> ()", "Sets it; `add` adds to it."),
        item("Gauge.value", "(self: Gauge, labels: Labels?) -> number", "What it is; 0 before it was set."),
        item(
            "MetricCounter.add",
            "(self: MetricCounter, value: number?, labels: Labels?) -> ()",
            "Adds a value, or 1.",
        ),
        item("Histogram.observe", "(self: Histogram, value: number, labels: Labels?) -> ()", "Counts a value."),
    ],
    example: "local metrics = require(\"@netserv/metrics\")\n\
              local M = {}\n\
              function M.run(ctx: Context)\n  \
                local calls = metrics.gauge(\"sip_calls\", \"Calls that go on.\")\n  \
                calls:set(3, { codec = \"opus\" })\n  \
                calls:add(-1, { codec = \"opus\" })\n  \
                assert(calls:value({ codec = \"opus\" }) == 2)\n  \
                local wait = metrics.histogram(\"sip_answer_seconds\", { 0.1, 0.5, 2 })\n  \
                wait:observe(0.3)\n  \
                ctx:log(\"info\", \"done\")\n\
              end\n\
              return M\n",
    natives: &[("change", change), ("declare", declare), ("value", value)],
    code: include_str!("metrics.luau"),
};

/// Bytes of labels, and of bounds, as a value.
const VALUE_BYTES_MAX: usize = 4 * METRIC_TEXT_BYTES_MAX;

fn text(arguments: &Arguments<'_>, at: std::ffi::c_int, name: &str) -> Result<String, String> {
    if arguments.is_nil(at) {
        return Ok(String::new());
    }
    Ok(String::from_utf8_lossy(arguments.bytes(at, name)?).into_owned())
}

fn labels(arguments: &Arguments<'_>, at: std::ffi::c_int) -> Result<BTreeMap<String, String>, String> {
    match arguments.json(at, VALUE_BYTES_MAX).map_err(|error| format!("labels: {error}"))? {
        Value::Null => Ok(BTreeMap::new()),
        Value::Array(items) if items.is_empty() => Ok(BTreeMap::new()),
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, value)| match value {
                Value::String(text) => Ok((name, text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    Err(format!("the label {name} must be a string"))
                }
            })
            .collect(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err("labels are a table of texts by names".to_owned())
        }
    }
}

/// `declare(name, kind, help, bounds?)`.
fn declare(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let kind = match arguments.bytes(2, "kind")? {
        b"gauge" => Kind::Gauge,
        b"counter" => Kind::Counter,
        _ => {
            let bounds = arguments.json(4, VALUE_BYTES_MAX)?;
            let numbers = bounds.as_array().map(|items| items.iter().map(Value::as_f64).collect::<Option<Vec<f64>>>());
            Kind::Histogram(numbers.flatten().ok_or("bounds are a list of numbers")?)
        }
    };
    host.metrics.borrow_mut().declare(&text(arguments, 1, "name")?, kind, &text(arguments, 3, "help")?)?;
    Ok(Answer::Nil)
}

/// `change(name, value, sets, labels?)`.
fn change(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    let (name, value) = (text(arguments, 1, "name")?, arguments.number(2, "value")?);
    host.metrics.borrow_mut().change(&name, &labels(arguments, 4)?, value, arguments.truth(3))?;
    Ok(Answer::Nil)
}

/// `value(name, labels?)`.
fn value(host: &Host, arguments: &Arguments<'_>) -> Result<Answer, String> {
    Ok(Answer::Number(host.metrics.borrow().value(&text(arguments, 1, "name")?, &labels(arguments, 2)?)))
}
