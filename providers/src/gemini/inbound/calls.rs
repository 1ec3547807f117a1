//! Which answer belongs to which call. Gemini names calls by function and order, and only sometimes by id; the hub needs an id.

use crate::dialect::Unsupported;
use crate::members::unsupported;

/// The calls of a conversation that wait for their answers.
#[derive(Default)]
pub(super) struct Calls {
    made: u32,
    open: Vec<Call>,
}

struct Call {
    name: String,
    id: String,
}

impl Calls {
    /// The model calls. Without an id of its own the call gets one that is the same whenever this conversation is sent: nine letters
    /// and digits, which every provider takes.
    pub(super) fn call(&mut self, name: &str, id: Option<&str>) -> String {
        self.made += 1;
        let id = id.filter(|id| !id.is_empty()).map_or_else(|| format!("call{:05}", self.made), str::to_owned);
        self.open.push(Call { name: name.to_owned(), id: id.clone() });
        id
    }

    /// A function has answered: by its id if one is told and known, otherwise the first open call of its name.
    pub(super) fn answer(&mut self, name: &str, id: Option<&str>, place: &str) -> Result<String, Unsupported> {
        let by_id = id.and_then(|id| self.open.iter().position(|call| call.id == id));
        let found = by_id.or_else(|| self.open.iter().position(|call| call.name == name));
        match found {
            Some(index) => Ok(self.open.remove(index).id),
            None => Err(unsupported(place, "answers no call that came before it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_find_their_calls_by_id_and_else_by_name_and_order() {
        let mut calls = Calls::default();
        let made = [("a", None), ("b", Some("x1")), ("a", None)].map(|(name, id)| calls.call(name, id));
        assert_eq!(made, ["call00001", "x1", "call00003"]);
        let mut answer = |name, id| calls.answer(name, id, "here").map_err(|refused| refused.message);
        assert_eq!(answer("b", Some("x1")).as_deref(), Ok("x1"));
        assert_eq!(answer("a", None).as_deref(), Ok("call00001"));
        assert_eq!(answer("a", Some("another")).as_deref(), Ok("call00003"), "an id that nobody knows is only a name");
        assert_eq!(answer("a", None), Err("here answers no call that came before it".to_owned()));
    }
}
