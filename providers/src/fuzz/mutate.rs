//! Spoils an input: as bytes, as JSON, as a stream of events. Seeded, so that whatever it did can be done again.

use serde_json::{Map, Value, json};

/// Numbers from a seed (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    /// One of 0..`most`; 0 where there is none.
    pub(super) fn below(&mut self, most: usize) -> usize {
        (self.next() % most.max(1) as u64) as usize
    }

    pub(super) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// FNV-1a.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Words that readers look for, and those they stumble over.
const WORDS: [&str; 40] = [
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\udc00\\ud800",
    "\\u00e9",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "1e999",
    "-0",
    "18446744073709551616",
    "-1",
    "0.5",
    "\r\n",
    "\n\n",
    "\r",
    "\n",
    "data: ",
    "data:",
    "event: ",
    ": ",
    "[DONE]",
    "\u{feff}",
    "\u{10ffff}",
    "é",
    "\0",
    "\u{7f}",
    "--b",
    "--",
    "\"model\":",
    "\"stream\":true,",
    "\"index\":4294967296,",
    "\"usage\":{},",
    "\"content\":null,",
];

/// A few changes to the bytes.
pub(super) fn bytes(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut out = dice.pick(seeds).clone();
    for _ in 0..=dice.below(4) {
        let at = dice.below(out.len() + 1);
        let longest = if dice.one_in(4) { 400 } else { 12 };
        let end = (at + 1 + dice.below(longest)).min(out.len());
        match dice.below(8) {
            0 if at < out.len() => out[at] ^= 1 << dice.below(8),
            1 if at < out.len() => out[at] = dice.next() as u8,
            2 => drop(out.drain(at..end)),
            3 => {
                let piece = out[at..end].to_vec();
                out.splice(at..at, piece);
            }
            4 => {
                let other = dice.pick(seeds);
                let from = dice.below(other.len() + 1);
                let piece = other[from..(from + dice.below(300)).min(other.len())].to_vec();
                out.splice(at..end, piece);
            }
            5 => out.truncate(at),
            _ => drop(out.splice(at..at, dice.pick(&WORDS).bytes())),
        }
    }
    out
}

/// A few changes to a JSON text: whole values, members and elements. What is no JSON is changed as bytes.
pub(super) fn json(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    let Ok(mut value) = serde_json::from_slice::<Value>(dice.pick::<Vec<u8>>(seeds)) else { return bytes(dice, seeds) };
    let other = serde_json::from_slice(dice.pick::<Vec<u8>>(seeds)).unwrap_or(Value::Null);
    for _ in 0..=dice.below(3) {
        change(dice, &mut value, &other);
    }
    let text = value.to_string().into_bytes();
    if dice.one_in(6) { bytes(dice, &[text]) } else { text }
}

/// Changes one place somewhere in a value.
fn change(dice: &mut Dice, value: &mut Value, other: &Value) {
    if dice.below(8) > 0 {
        match value {
            Value::Object(members) if !members.is_empty() => {
                let name = members.keys().nth(dice.below(members.len())).unwrap().clone();
                return match dice.below(12) {
                    0 => drop(members.remove(&name)),
                    1 => {
                        let moved = members.remove(&name).unwrap();
                        members.insert(dice.pick(&WORDS).to_string(), moved);
                    }
                    2 => {
                        if let Some((name, taken)) = somewhere(dice, other).as_object().and_then(|it| any(dice, it)) {
                            members.insert(name, taken);
                        }
                    }
                    _ => change(dice, members.get_mut(&name).unwrap(), other),
                };
            }
            Value::Array(items) if !items.is_empty() => {
                let at = dice.below(items.len());
                return match dice.below(10) {
                    0 => drop(items.remove(at)),
                    1 => items.insert(at, items[at].clone()),
                    2 => items.insert(at, somewhere(dice, other).clone()),
                    3 => {
                        let to = dice.below(items.len());
                        items.swap(at, to);
                    }
                    _ => change(dice, &mut items[at], other),
                };
            }
            _ => {}
        }
    }
    *value = match dice.below(16) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(u64::MAX),
        5 => json!(1e300),
        6 => json!(4_294_967_296_u64),
        7 => json!(dice.below(300)),
        8 => json!(""),
        9 => json!([]),
        10 => json!({}),
        11 => json!([value.clone()]),
        12 => json!({dice.pick(&WORDS).to_string(): value.clone()}),
        13 => json!(dice.pick(&WORDS).repeat(1 + dice.below(50))),
        _ => somewhere(dice, other).clone(),
    };
}

fn any(dice: &mut Dice, members: &Map<String, Value>) -> Option<(String, Value)> {
    let (name, value) = members.iter().nth(dice.below(members.len()))?;
    Some((name.clone(), value.clone()))
}

/// A value within a value.
fn somewhere<'a>(dice: &mut Dice, value: &'a Value) -> &'a Value {
    let inner: Vec<&Value> = match value {
        Value::Object(members) => members.values().collect(),
        Value::Array(items) => items.iter().collect(),
        _ => return value,
    };
    if inner.is_empty() || dice.one_in(4) {
        return value;
    }
    let at = dice.below(inner.len());
    somewhere(dice, inner[at])
}

/// A few changes to a list: left out, told twice, in another order, from another list, and one item changed by `spoil`.
pub(super) fn list<T: Clone>(
    dice: &mut Dice,
    items: &mut Vec<T>,
    others: &[T],
    mut spoil: impl FnMut(&mut Dice, &mut T),
) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(items.len());
        match dice.below(10) {
            0 if !items.is_empty() => drop(items.remove(at)),
            1 if !items.is_empty() => items.insert(dice.below(items.len()), items[at].clone()),
            2 if !items.is_empty() => {
                let to = dice.below(items.len());
                items.swap(at, to);
            }
            3 if !others.is_empty() => items.insert(at, dice.pick(others).clone()),
            4 => items.truncate(at),
            _ if !items.is_empty() => spoil(dice, &mut items[at]),
            _ => {}
        }
    }
}

/// A few changes to a stream of server-sent events; a whole answer is changed as JSON.
pub(super) fn stream(dice: &mut Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    if dice.one_in(5) {
        return bytes(dice, seeds);
    }
    let Some(text) = std::str::from_utf8(dice.pick::<Vec<u8>>(seeds)).ok().filter(|it| it.contains("data:")) else {
        return json(dice, seeds);
    };
    let cut = |text: &str| -> Vec<String> { text.split("\n\n").map(str::to_owned).collect() };
    let (mut events, other) = (cut(text), cut(&String::from_utf8_lossy(dice.pick::<Vec<u8>>(seeds))));
    list(dice, &mut events, &other, |dice, event| {
        let Some((head, data)) = event.split_once("data:") else { return };
        let (head, data) = (head.to_owned(), data.trim().as_bytes().to_vec());
        let seeds = [
            data,
            other.iter().map(|it| it.split_once("data:").map_or("", |it| it.1).trim()).next().unwrap_or("").into(),
        ];
        let data = if dice.one_in(4) { bytes(dice, &seeds[..1]) } else { json(dice, &seeds) };
        *event = format!("{head}data: {}", String::from_utf8_lossy(&data));
    });
    let joint = *dice.pick(&["\n\n", "\n\n", "\n\n", "\r\n\r\n", "\r\r", "\n: ping\n\n"]);
    events.join(joint).into_bytes()
}
