//! Reading an object member by member, so that nothing is dropped unseen: what was not taken is refused by name.
//! Values stay raw text until somebody needs them; numbers and key order inside schemas and arguments survive.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::dialect::Unsupported;

/// A refusal that names the place in the caller's body, such as `messages[2].content[0].type`.
pub(crate) fn unsupported(place: impl Into<String>, why: impl Into<String>) -> Unsupported {
    let (place, why) = (place.into(), why.into());
    if place.is_empty() {
        return Unsupported::new(format!("the body {why}"));
    }
    let message = format!("{place} {why}");
    Unsupported::at(place, message)
}

/// The members of one object that nobody has taken yet.
pub(crate) struct Members<'a> {
    place: String,
    left: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Members<'a> {
    /// Opens an object; anything else, or a member told twice, is refused.
    pub(crate) fn read(raw: &'a RawValue, place: impl Into<String>) -> Result<Members<'a>, Unsupported> {
        let place = place.into();
        let Ok(Pairs(left)) = serde_json::from_str(raw.get()) else {
            return Err(unsupported(place, "must be an object"));
        };
        if let Some(name) = told_twice(&left) {
            return Err(unsupported(join(&place, name), "is given twice"));
        }
        Ok(Members { place, left })
    }

    /// An object of one member that was not written as one; `place` names it whole.
    pub(crate) fn of(name: &'static str, raw: &'a RawValue, place: &str) -> Members<'a> {
        Members { place: place.to_owned(), left: vec![(Cow::Borrowed(name), raw)] }
    }

    /// The same members, each by its name in camelCase, as protocol buffers read them; one told in both spellings is refused.
    pub(crate) fn in_camel_case(mut self) -> Result<Members<'a>, Unsupported> {
        for (name, _) in &mut self.left {
            if name.trim_start_matches('_').contains('_') {
                *name = Cow::Owned(camel(name));
            }
        }
        let mut seen = HashSet::with_capacity(self.left.len());
        match self.left.iter().find(|(name, _)| !seen.insert(name.as_ref())) {
            Some((name, _)) => Err(unsupported(self.at(name), "is given twice, in two spellings")),
            None => Ok(self),
        }
    }

    /// Where a member of this object stands.
    pub(crate) fn at(&self, name: &str) -> String {
        join(&self.place, name)
    }

    /// Takes a member as it was written; `null` counts as absent.
    pub(crate) fn raw(&mut self, name: &str) -> Option<&'a RawValue> {
        let index = self.left.iter().position(|(member, _)| member == name)?;
        let (_, raw) = self.left.swap_remove(index);
        (raw.get() != "null").then_some(raw)
    }

    /// Takes a member as a typed value; another type is refused.
    pub(crate) fn take<T: Deserialize<'a>>(&mut self, name: &str) -> Result<Option<T>, Unsupported> {
        let Some(raw) = self.raw(name) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| unsupported(self.at(name), "has a value of another type"))
    }

    /// Takes a text.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<Cow<'a, str>>, Unsupported> {
        Ok(self.take::<Text<'a>>(name)?.map(|text| text.0))
    }

    /// Takes a text that must be there.
    pub(crate) fn required_text(&mut self, name: &str) -> Result<Cow<'a, str>, Unsupported> {
        self.text(name)?.ok_or_else(|| unsupported(self.at(name), "is required"))
    }

    /// Lets members go whose loss breaks no promise. Each caller documents its list.
    pub(crate) fn ignore(&mut self, names: &[&str]) {
        self.left.retain(|(member, _)| !names.contains(&member.as_ref()));
    }

    /// Lets a member go where it says what would happen anyway, and refuses it otherwise.
    pub(crate) fn only(&mut self, name: &str, harmless: &[&str], why: &str) -> Result<(), Unsupported> {
        match self.raw(name) {
            Some(raw) if !harmless.contains(&raw.get()) => Err(unsupported(self.at(name), why)),
            _ => Ok(()),
        }
    }

    /// Refuses the first member that nobody took; one that is `null` asks for nothing.
    pub(crate) fn done(self) -> Result<(), Unsupported> {
        match self.left.iter().find(|(_, raw)| raw.get() != "null") {
            Some((name, _)) => Err(unsupported(self.at(name), "has no counterpart at the target")),
            None => Ok(()),
        }
    }
}

/// The elements of an array, each with its place.
pub(crate) fn elements<'a>(raw: &'a RawValue, place: &str) -> Result<Vec<(String, &'a RawValue)>, Unsupported> {
    let elements: Vec<&RawValue> =
        serde_json::from_str(raw.get()).map_err(|_| unsupported(place, "must be an array"))?;
    Ok(elements.into_iter().enumerate().map(|(index, raw)| (format!("{place}[{index}]"), raw)).collect())
}

/// The value as a text, if it is one.
pub(crate) fn as_text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// The object again, with some members left out, and some with another value.
pub(crate) fn rewritten(raw: &RawValue, without: &[&str], with: &[(&str, String)]) -> Option<String> {
    let Pairs(members) = serde_json::from_str(raw.get()).ok()?;
    let mut out = "{".to_owned();
    for (name, value) in members.iter().filter(|(name, _)| !without.contains(&name.as_ref())) {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&crate::json::quote(name));
        out.push(':');
        let changed = with.iter().find(|(changed, _)| changed == name);
        out.push_str(changed.map_or(value.get(), |(_, value)| value));
    }
    out.push('}');
    Some(out)
}

/// `max_output_tokens` is `maxOutputTokens`.
pub(crate) fn camel(snake: &str) -> String {
    let mut out = String::with_capacity(snake.len());
    let mut upper = false;
    for c in snake.chars() {
        match c {
            '_' if !out.is_empty() => upper = true,
            c if std::mem::take(&mut upper) => out.push(c.to_ascii_uppercase()),
            c => out.push(c),
        }
    }
    out
}

/// A name that comes again. Most objects have few members, and those are compared faster than they are hashed.
fn told_twice<'m>(members: &'m [(Cow<'_, str>, &RawValue)]) -> Option<&'m str> {
    if members.len() <= 16 {
        let again = members.iter().enumerate().find(|(at, (name, _))| members[..*at].iter().any(|(it, _)| it == name));
        return again.map(|(_, (name, _))| name.as_ref());
    }
    let mut seen = HashSet::with_capacity(members.len());
    members.iter().find(|(name, _)| !seen.insert(name.as_ref())).map(|(name, _)| name.as_ref())
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// A text borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Pairs<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    pairs.push((name, map.next_value()?));
                }
                Ok(Pairs(pairs))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
