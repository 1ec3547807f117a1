//! Calls as they come and as they never should, by a seed: few words, so that settings and calls meet often, and facts that are
//! missing.

use serde_json::{Map, Value, json};

pub struct Draw(u64);

impl Draw {
    pub fn of(seed: u64) -> Draw {
        Draw(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % most
    }

    fn one(&mut self, of: &[&str]) -> Value {
        let at = self.below(of.len() as u64);
        of[usize::try_from(at).expect("small")].into()
    }

    fn some(&mut self, of: &[&str], most: u64) -> Value {
        (0..self.below(most + 1)).map(|_| self.one(of)).collect()
    }

    fn map(&mut self, names: &[&str], texts: &[&str]) -> Value {
        let mut map = Map::new();
        for name in names {
            if self.below(2) == 0 {
                map.insert((*name).to_owned(), self.one(texts));
            }
        }
        map.into()
    }

    fn number(&mut self, of: &[i64]) -> Value {
        let at = self.below(of.len() as u64);
        of[usize::try_from(at).expect("small")].into()
    }

    /// Leaves some of the members out.
    fn holed(&mut self, whole: Value, one_in: u64) -> Value {
        let Value::Object(members) = whole else {
            return whole;
        };
        members.into_iter().filter(|_| self.below(one_in) > 0).collect::<Map<_, _>>().into()
    }

    /// The input of one call.
    pub fn call(&mut self) -> Value {
        let classes = ["public", "internal", "patient", "secret", "ch", "de", "atlas", ""];
        let attributes = json!({
            "org": self.map(&["seat", "data_class"], &classes),
            "team": self.map(&["seat", "grade"], &classes),
            "user": self.map(&["seat", "data_class"], &classes),
        });
        let models = match self.below(4) {
            0 => self.some(&["large", "small", "azure/large", "other"], 3),
            _ => Value::Null,
        };
        let caller = json!({
            "org": self.one(&["org_1", "org_2"]),
            "team": self.one(&["team_1", "team_2", "team_desk"]),
            "user": "usr_1",
            "key": self.one(&["key_1", "key_pager"]),
            "models": models,
            "tags": self.map(&["project", "env", "data_class"], &["atlas", "gemini", "prod", "patient", "public", ""]),
            "groups": self.some(&["staff", "interns", "research", "teachers", "night"], 2),
            "attributes": self.holed(attributes, 12),
        });
        let tools = self.some(&["search", "shell_exec", "crm_read", "crm_delete", ""], 2);
        let request = json!({
            "kind": self.one(&["chat.completions", "messages", "batches"]),
            "model": self.one(&["large", "small", "azure/large", "coder"]),
            "stream": self.below(2) == 0,
            "images": self.below(2) == 0,
            "tools": tools.as_array().is_some_and(|names| !names.is_empty()),
            "tool_names": tools,
            "mcp_servers": self.some(&["crm", "mcp.bank.example", "mcp.bank.example.evil", "wiki"], 2),
            "input_tokens": self.number(&[0, 499, 500, 501, 8_000, 8_001]),
            "intent": self.one(&["chat", "code", "reasoning", "extraction"]),
            "intent_confidence": self.number(&[0, 59, 60, 90, 100]),
            "tier": self.number(&[1, 2, 3, 4]),
            "claims": self.map(&["project", "user"], &["atlas", "apollo", "gemini", ""]),
        });
        let candidates: Vec<Value> = (0..self.below(4)).map(|_| self.candidate()).collect();
        let seconds = 1_795_046_400 + i64::try_from(self.below(30 * 86_400)).expect("small");
        let budget = json!({"downgrade": self.below(2) == 0, "left_percent": self.number(&[0, 4, 5, 20, 49, 50, 100])});
        let whole = json!({
            "caller": self.holed(caller, 16),
            "request": self.holed(request, 24),
            "candidates": candidates,
            "findings": {"email": self.number(&[0, 2]), "api_key": self.number(&[0, 1]), "us_ssn": self.number(&[0, 3])},
            "time": {"unix_seconds": seconds},
            "budget": self.holed(budget, 3),
        });
        self.holed(whole, 40)
    }

    fn candidate(&mut self) -> Value {
        let provider = ["openai", "azure", "local"][usize::try_from(self.below(3)).expect("small")];
        let name = self.one(&["large", "small"]);
        let whole = json!({
            "target": format!("{provider}/{}", name.as_str().unwrap_or_default()),
            "name": name,
            "provider": provider,
            "region": self.one(&["us", "eu", "ch", ""]),
            "healthy": self.below(3) > 0,
            "price_input": self.one(&["0.15", "2.50", "15"]),
            "price_output": self.one(&["0.60", "10.00", "75"]),
        });
        self.holed(whole, 16)
    }
}
