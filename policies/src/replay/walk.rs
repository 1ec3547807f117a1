//! What a call comes to when rules are asked its questions one after another, and in what two such outcomes differ. A call asks more
//! than once where a rule names another model: that one is decided too, and where it is denied the call goes on as it was.

use std::fmt;

use crate::{Decision, Facts, Obligations, Reason};

/// What came of a call's questions.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It goes, under these duties.
    Goes {
        /// The decision that counts.
        duties: Box<Obligations>,
        /// The question that counts.
        question: usize,
        /// The model that the call should become, where nobody has asked about it.
        unasked: Option<String>,
    },
    /// It does not.
    Denied(Vec<Reason>),
}

impl Outcome {
    /// The target that comes first.
    pub fn target(&self) -> Option<&str> {
        match self {
            Outcome::Goes { duties, .. } => duties.targets.first().map(String::as_str),
            Outcome::Denied(_) => None,
        }
    }

    /// The rules could not decide.
    pub fn is_fault(&self) -> bool {
        matches!(self, Outcome::Denied(reasons)
            if reasons.first().is_some_and(|reason| reason.code == crate::Code::PolicyFault))
    }
}

/// Walks through a call's questions, in the order they were asked; `decide` answers one.
pub fn walk(questions: &[Facts], mut decide: impl FnMut(usize) -> Decision) -> Outcome {
    let asked = questions.first().map_or("", |facts| facts.request.model.as_str());
    let mut standing: Option<(usize, Obligations)> = None;
    for (at, facts) in questions.iter().enumerate() {
        let again = at == 0 || facts.request.model == asked;
        let is_named = |(_, duties): &(usize, Obligations)| named(duties).any(|name| *name == facts.request.model);
        if !again && !standing.as_ref().is_some_and(is_named) {
            continue; // about a model that these rules do not name
        }
        match decide(at) {
            Decision::Allow(duties) => standing = Some((at, duties)),
            Decision::Deny(reasons) if again => return Outcome::Denied(reasons),
            Decision::Deny(_) => {}
        }
    }
    let Some((question, duties)) = standing else { return Outcome::Denied(Vec::new()) };
    let is_asked = |model: &&String| questions.iter().any(|facts| facts.request.model == **model);
    // A call that has become another model already is not moved on.
    let moved = questions[question].request.model != asked;
    let unasked = named(&duties).find(|model| !is_asked(model)).filter(|_| !moved).cloned();
    Outcome::Goes { duties: Box::new(duties), question, unasked }
}

/// The models that the call should become, the first before the second.
fn named(duties: &Obligations) -> impl Iterator<Item = &String> {
    duties.reroute.iter().chain(&duties.downgrade)
}

/// In what one outcome differs from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Difference {
    /// It would no longer go.
    Denied,
    /// It would go now.
    Allowed,
    /// It would go somewhere else first.
    Rerouted,
    /// It would go to the same place under other duties.
    Duties,
}

impl Difference {
    /// Every difference.
    pub const ALL: [Difference; 4] =
        [Difference::Denied, Difference::Allowed, Difference::Rerouted, Difference::Duties];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Difference::Denied => "denied",
            Difference::Allowed => "allowed",
            Difference::Rerouted => "rerouted",
            Difference::Duties => "duties",
        }
    }

    /// In what `other` differs from `live`: the first that holds, and nothing where they are the same.
    pub fn between(live: &Outcome, other: &Outcome) -> Option<Difference> {
        match (live, other) {
            (Outcome::Denied(_), Outcome::Denied(_)) => None,
            (Outcome::Goes { .. }, Outcome::Denied(_)) => Some(Difference::Denied),
            (Outcome::Denied(_), Outcome::Goes { .. }) => Some(Difference::Allowed),
            (Outcome::Goes { duties: a, unasked: to_a, .. }, Outcome::Goes { duties: b, unasked: to_b, .. }) => {
                if a.targets.first() != b.targets.first() || to_a != to_b {
                    return Some(Difference::Rerouted);
                }
                (bare(a) != bare(b)).then_some(Difference::Duties)
            }
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Duties without what is only told.
fn bare(duties: &Obligations) -> Obligations {
    Obligations { routing: String::new(), observed: Vec::new(), ..duties.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, RequestFacts};

    fn question(model: &str) -> Facts {
        Facts { request: RequestFacts { model: model.into(), ..RequestFacts::default() }, ..Facts::default() }
    }

    fn allow(target: &str, reroute: Option<&str>) -> Decision {
        let reroute = reroute.map(str::to_owned);
        Decision::Allow(Obligations { targets: vec![target.into()], reroute, ..Obligations::default() })
    }

    fn deny() -> Decision {
        Decision::Deny(vec![Reason { code: Code::PolicyDenied, message: "no".into() }])
    }

    #[test]
    fn the_question_that_counts_is_found() {
        for (questions, answers, target, unasked) in [
            (vec!["a"], vec![allow("x/a", None)], Some("x/a"), None),
            (vec!["a"], vec![deny()], None, None),
            (vec!["a", "b"], vec![allow("x/a", Some("b")), allow("x/b", None)], Some("x/b"), None),
            (vec!["a", "b"], vec![allow("x/a", Some("b")), deny()], Some("x/a"), None),
            (vec!["a", "b"], vec![allow("x/a", None), allow("x/b", None)], Some("x/a"), None),
            (vec!["a", "a"], vec![allow("x/a", None), deny()], None, None),
            (vec!["a", "a"], vec![allow("x/a", None), allow("y/a", None)], Some("y/a"), None),
            (vec!["a", "b"], vec![deny(), allow("x/b", None)], None, None),
            (vec!["a"], vec![allow("x/a", Some("c"))], Some("x/a"), Some("c")),
            (vec![], vec![], None, None),
        ] {
            let facts: Vec<Facts> = questions.iter().map(|model| question(model)).collect();
            let outcome = walk(&facts, |at| answers[at].clone());
            assert_eq!(outcome.target(), target, "{questions:?} {answers:?}");
            let told = match &outcome {
                Outcome::Goes { unasked, .. } => unasked.as_deref(),
                Outcome::Denied(_) => None,
            };
            assert_eq!(told, unasked, "{questions:?}");
        }
    }

    #[test]
    fn outcomes_differ_in_one_way_at_most() {
        let of = |decision: Decision| walk(&[question("a")], |_| decision.clone());
        let capped = |cap| {
            let Decision::Allow(duties) = allow("x/a", None) else { unreachable!() };
            Decision::Allow(Obligations { max_output_tokens: cap, routing: "told".into(), ..duties })
        };
        for (live, other, difference) in [
            (deny(), deny(), None),
            (deny(), capped(None), Some(Difference::Allowed)),
            (capped(None), deny(), Some(Difference::Denied)),
            (allow("x/a", None), capped(None), None),
            (capped(Some(7)), capped(None), Some(Difference::Duties)),
            (allow("x/a", None), allow("y/a", None), Some(Difference::Rerouted)),
            (allow("x/a", None), allow("x/a", Some("b")), Some(Difference::Rerouted)),
            (allow("x/a", Some("b")), allow("x/a", Some("b")), None),
        ] {
            assert_eq!(Difference::between(&of(live.clone()), &of(other.clone())), difference, "{live:?} {other:?}");
        }
    }
}
