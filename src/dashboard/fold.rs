//! All moments of a scene as one: what somebody who comes late has to be told. Bounded, however long the scene lasts.

use std::collections::{BTreeMap, VecDeque};

use crate::base::limits::{
    PAGE_FLOWS_MAX, PAGE_INSTANCES_MAX, PAGE_MESSAGES_MAX, PAGE_NOTES_MAX, PAGE_SAMPLES_MAX, PAGE_SERIES_MAX,
};
use crate::dashboard::scene::{
    Detail, FlowChange, InstanceChange, InstanceState, Load, Message, Moment, Note, Sample, StateChange,
};

/// What is so now, of all that was told. Machines and links that do not exist are the business of whoever tells.
#[derive(Clone, Debug, Default)]
pub struct Fold {
    at_s: f64,
    step: Option<usize>,
    loads: BTreeMap<(usize, usize), Load>,
    messages: VecDeque<Message>,
    instances: BTreeMap<(usize, String), InstanceChange>,
    flows: BTreeMap<u64, FlowChange>,
    states: BTreeMap<(bool, usize), StateChange>,
    notes: VecDeque<Note>,
    samples: BTreeMap<(usize, usize), Vec<Sample>>,
    details: BTreeMap<usize, Detail>,
}

impl Fold {
    /// Adds what happened.
    pub fn add(&mut self, moment: &Moment) {
        self.at_s = moment.at_s;
        self.step = moment.step.or(self.step);
        for load in &moment.loads {
            self.loads.insert((load.link, load.from), *load);
        }
        self.messages.extend(moment.messages.iter().cloned());
        let at_s = self.at_s;
        self.messages.retain(|message| message.arrives_s.unwrap_or(message.left_s) > at_s);
        keep_last(&mut self.messages, PAGE_MESSAGES_MAX);
        for change in &moment.instances {
            let key = (change.machine, change.instance.clone());
            if change.state == InstanceState::Gone {
                self.instances.remove(&key);
            } else if self.instances.len() < PAGE_INSTANCES_MAX || self.instances.contains_key(&key) {
                self.instances.insert(key, change.clone());
            }
        }
        for change in &moment.flows {
            if change.path.is_empty() {
                self.flows.remove(&change.flow);
            } else if self.flows.len() < PAGE_FLOWS_MAX || self.flows.contains_key(&change.flow) {
                self.flows.insert(change.flow, change.clone());
            }
        }
        for change in &moment.states {
            self.state(*change);
        }
        self.notes.extend(moment.notes.iter().cloned());
        keep_last(&mut self.notes, PAGE_NOTES_MAX);
        for sample in &moment.samples {
            self.sample(*sample);
        }
        for detail in &moment.details {
            self.details.insert(detail.machine, detail.clone());
        }
    }

    /// Everything is up unless it is said to be down: only that is kept.
    fn state(&mut self, change: StateChange) {
        let (key, is_up) = match change {
            StateChange::Machine { machine, is_up } => ((false, machine), is_up),
            StateChange::Link { link, is_up } => ((true, link), is_up),
        };
        if is_up {
            self.states.remove(&key);
        } else {
            self.states.insert(key, change);
        }
    }

    fn sample(&mut self, sample: Sample) {
        let key = (sample.chart, sample.series);
        if self.samples.len() >= PAGE_SERIES_MAX && !self.samples.contains_key(&key) {
            return;
        }
        let line = self.samples.entry(key).or_default();
        if line.len() >= PAGE_SAMPLES_MAX {
            let mut place = 0;
            line.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
        line.push(sample);
    }

    /// The one moment that tells all.
    #[must_use]
    pub fn moment(&self) -> Moment {
        Moment {
            at_s: self.at_s,
            step: self.step,
            loads: self.loads.values().copied().collect(),
            messages: self.messages.iter().cloned().collect(),
            instances: self.instances.values().cloned().collect(),
            flows: self.flows.values().cloned().collect(),
            states: self.states.values().copied().collect(),
            notes: self.notes.iter().cloned().collect(),
            samples: self.samples.values().flatten().copied().collect(),
            details: self.details.values().cloned().collect(),
        }
    }
}

fn keep_last<T>(list: &mut VecDeque<T>, max: usize) {
    let too_many = list.len().saturating_sub(max);
    list.drain(..too_many);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::scene::Layer;

    fn instance(name: &str, state: InstanceState) -> InstanceChange {
        InstanceChange { machine: 1, instance: name.into(), module: "m".into(), state, signalled: true }
    }

    #[test]
    fn tells_what_is_and_not_what_was() {
        let mut fold = Fold::default();
        let message = |left_s, arrives_s| Message {
            layer: Layer::Gist,
            label: "Query".into(),
            link: 0,
            from: 0,
            left_s,
            arrives_s,
        };
        fold.add(&Moment {
            at_s: 1.0,
            step: Some(0),
            instances: vec![instance("a", InstanceState::Running), instance("b", InstanceState::Running)],
            flows: vec![FlowChange { flow: 7, label: "f".into(), path: vec![0, 1] }],
            states: vec![
                StateChange::Link { link: 0, is_up: false },
                StateChange::Machine { machine: 0, is_up: false },
            ],
            messages: vec![message(0.9, Some(1.05)), message(0.9, Some(3.0)), message(0.5, None)],
            ..Moment::default()
        });
        fold.add(&Moment {
            at_s: 2.0,
            instances: vec![instance("a", InstanceState::Gone), instance("b", InstanceState::Failed)],
            flows: vec![FlowChange { flow: 7, label: "f".into(), path: vec![] }],
            states: vec![StateChange::Link { link: 0, is_up: true }],
            ..Moment::default()
        });
        let all = fold.moment();
        assert_eq!((all.at_s, all.step), (2.0, Some(0)));
        assert_eq!(all.instances, [instance("b", InstanceState::Failed)]);
        assert_eq!(all.flows, []);
        assert_eq!(all.states, [StateChange::Machine { machine: 0, is_up: false }]);
        assert_eq!(all.messages, [message(0.9, Some(3.0))]);
    }

    #[test]
    fn does_not_grow_for_ever() {
        let mut fold = Fold::default();
        let count = 10 * PAGE_NOTES_MAX;
        for n in 0..count {
            let at_s = n as f64;
            fold.add(&Moment {
                at_s,
                notes: vec![Note { at_s, machine: None, level: "info", text: n.to_string() }],
                samples: vec![Sample { chart: 0, series: 0, at_s, value: at_s }],
                ..Moment::default()
            });
        }
        let all = fold.moment();
        assert_eq!(all.notes.len(), PAGE_NOTES_MAX);
        assert_eq!(all.notes.last().map(|note| note.text.as_str()), Some((count - 1).to_string().as_str()));
        assert!((PAGE_SAMPLES_MAX / 2..=PAGE_SAMPLES_MAX).contains(&all.samples.len()));
        assert!(all.samples.is_sorted_by(|a, b| a.at_s < b.at_s));
        assert_eq!((all.samples[0].at_s, all.samples[all.samples.len() - 1].at_s), (0.0, (count - 1) as f64));
    }
}
