//! What the reference says is there, and nothing else.

use std::collections::BTreeSet;

use super::*;
use crate::container::api::block::BLOCKS;
use crate::container::reference;

/// The keys of what `expression` gives in `start`, whose `ctx` it may use.
fn keys(expression: &str) -> BTreeSet<String> {
    let code = format!(
        "local keys = {{}}
         return {{
           start = function(ctx)
             for key in {expression} do table.insert(keys, key) end
             ctx:every(1, function() end):cancel()
           end,
           report = function() return keys end,
         }}"
    );
    let report = start(&code).report(Instant::START).unwrap().unwrap();
    report.as_array().unwrap().iter().map(|key| key.as_str().unwrap().to_owned()).collect()
}

fn names(names: Vec<&'static str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[test]
fn blocks_offer_what_the_reference_lists() {
    for block in BLOCKS {
        let listed = block.items.iter().map(|item| item.name).filter(|name| !name.contains('.')).collect();
        assert_eq!(keys(&format!("require('@netserv/{}')", block.name)), names(listed), "{}", block.name);
    }
}

#[test]
fn the_context_is_as_the_reference_lists_it() {
    assert_eq!(keys("ctx"), names(reference::listed("Context")));
    assert_eq!(keys("require('@netserv')"), names(reference::listed("Netserv")));
    assert_eq!(keys("ctx:flow(ctx:flows()[1].id)"), names(reference::listed("Flow")));
}

#[test]
fn packets_counters_and_timers_have_what_the_reference_lists() {
    for name in reference::listed("Packet") {
        let mut instance = handler(manifest(), &format!("assert(packet.{name} ~= nil)"));
        assert_eq!(action(&mut instance, &hex(UDP4)), Action::Pass, "{name}");
    }
    for (object, maker) in [("Counter", "ctx:counter('seen')"), ("Timer", "ctx:after(1, function() end)")] {
        for name in reference::listed(object) {
            start(&format!("return {{ start = function(ctx) assert({maker}.{name} ~= nil) end }}"));
        }
    }
}
