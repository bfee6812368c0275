//! Says what an apply did, how long it took, and how long services were down.

use std::time::Instant;

use crate::{
    observe::{Observed, Probed},
    plan::{Action, Plan, Verb},
    render,
};

/// The number of services whose downtime is named; of more, the longest.
const MOST_SERVICES: usize = 3;

/// What an apply did so far, over all attempts.
pub(super) struct Outcome {
    start: Instant,
    /// The plan that the user agreed to.
    plan: Plan,
}

impl Outcome {
    /// Starts the clock.
    pub(super) fn begin(plan: &Plan) -> Self {
        Self {
            start: Instant::now(),
            plan: plan.clone(),
        }
    }

    /// Formats `2 created, 5 updated in 7.3 s, 1.20 MiB sent; web was down for 0.9 s`.
    pub(super) fn text(&self, observed: &Observed) -> String {
        let took = render::duration(self.start.elapsed());
        let mut text = format!("{} in {took}", counts(&self.plan));
        let bytes = self.plan.bytes_to_send();
        if render::shows_bytes(bytes, false) {
            let about = if self.plan.is_estimated() {
                "about "
            } else {
                ""
            };
            text = format!("{text}, {about}{} sent", render::bytes(bytes));
        }
        match down(&self.plan, observed) {
            Some(down) => format!("{text}; {down}"),
            None => text,
        }
    }
}

/// Counts the steps that a plan shows.
fn counts(plan: &Plan) -> String {
    let numbers = render::numbers(plan, false);
    let shown = plan.steps.iter().zip(numbers);
    let shown = shown.filter_map(|(step, number)| number.map(|_| Verb::of_step(step)));
    let shown: Vec<Verb> = shown.collect();
    let verbs = [
        Verb::Action(Action::Create),
        Verb::Action(Action::Update),
        Verb::Action(Action::Replace),
        Verb::Rename,
        Verb::Action(Action::Remove),
        Verb::Action(Action::Run),
    ];
    let counts = verbs.iter().filter_map(|verb| {
        let count = shown.iter().filter(|shown| *shown == verb).count();
        (count > 0).then(|| format!("{count} {}", verb.past()))
    });
    counts.collect::<Vec<_>>().join(", ")
}

/// Says how long services were down, where that was measured.
fn down(plan: &Plan, observed: &Observed) -> Option<String> {
    let Probed::Known(records) = &observed.facts.records else {
        return None;
    };
    let restarts = plan.steps.iter().flat_map(|step| {
        let started = records.started.get(step.address.name());
        let restarts = step.restarts.iter();
        restarts.filter_map(move |restart| {
            let down = *started?.down.get(&restart.service)?;
            // The same as before is the record of before: this time, it was not measured.
            let is_new = restart.milliseconds != Some(down);
            is_new.then_some((down, restart.service.as_str()))
        })
    });
    let mut down: Vec<(u64, &str)> = restarts.collect();
    down.sort_unstable_by(|one, other| other.cmp(one));
    let said = |(milliseconds, service): &(u64, &str)| {
        format!("{service} was down for {}", render::time(*milliseconds))
    };
    match &down[..] {
        [] => None,
        few if few.len() <= MOST_SERVICES => {
            Some(few.iter().map(said).collect::<Vec<_>>().join(", "))
        }
        [longest, ..] => Some(format!(
            "{} services were down, {} the longest",
            down.len(),
            {
                let (milliseconds, service) = longest;
                format!("{service} for {}", render::time(*milliseconds))
            }
        )),
    }
}
