//! Lists by cursor: `?limit=` of 1 to 1,000, `&cursor=` of the page before, `{"data": […], "next_cursor": …}`.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use ledger::{Call, Id, Mark, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::problem::Problem;

const DEFAULT_LIMIT: u32 = 100;
const MOST: u32 = 1_000;
const NO_CURSOR: &str = "is not a cursor that this list gave out";

/// The query of a call, with every fault told by the parameter's name.
pub(crate) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match Query::try_from_uri(&parts.uri) {
            Ok(Query(asked)) => Ok(Asked(asked)),
            Err(rejection) => {
                let cause =
                    std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), ToString::to_string);
                Err(explain(&cause))
            }
        }
    }
}

fn explain(cause: &str) -> Problem {
    for (start, detail) in [
        ("unknown field `", "is not a parameter of this call"),
        ("missing field `", "is needed"),
        ("duplicate field `", "is there twice"),
    ] {
        if let Some((name, _)) = cause.rsplit_once(start).and_then(|(_, rest)| rest.split_once('`')) {
            return Problem::Parameter { name: name.chars().take(100).collect(), detail: detail.into() };
        }
    }
    match cause.split_once(": ") {
        Some((name, detail)) => Problem::Parameter { name: name.into(), detail: detail.into() },
        None => Problem::Parameter { name: "query".into(), detail: cause.into() },
    }
}

/// How many rows a page may have; one more is read to know whether there is another page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(u32);

impl Default for Limit {
    fn default() -> Self {
        Limit(DEFAULT_LIMIT)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse() {
            Ok(limit @ 1..=MOST) => Ok(Limit(limit)),
            _ => Err(serde::de::Error::custom(format!("must be a whole number from 1 to {MOST}"))),
        }
    }
}

/// Where the page before ended. Opaque to the asker.
#[derive(Debug, Clone)]
pub(crate) struct Cursor(Mark);

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.0.at.micros(), self.0.id)
    }
}

impl FromStr for Cursor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = NO_CURSOR;
        let (at, id) = text.split_once('-').ok_or(wrong)?;
        let at = i64::from_str_radix(at, 16).map_err(|_| wrong)?;
        let in_form = (1..=64).contains(&id.len()) && id.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'));
        if !in_form || at < 0 {
            return Err(wrong);
        }
        Ok(Cursor(Mark { at: Timestamp::from_micros(at), id: id.to_owned() }))
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// One page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Listed<T> {
    pub data: Vec<T>,
    /// Give this as `cursor` for the next page; null at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

impl Limit {
    /// How many rows to read: one more than asked for.
    pub(crate) fn and_one(self) -> u32 {
        self.0 + 1
    }

    /// The page to answer, from the rows that were read for [`Limit::and_one`].
    pub(crate) fn listed<R, T>(
        self,
        mut rows: Vec<R>,
        cursor: impl Fn(&R) -> String,
        tell: impl Fn(R) -> T,
    ) -> Listed<T> {
        let most = usize::try_from(self.0).unwrap_or(usize::MAX);
        let more = rows.len() > most;
        rows.truncate(most);
        let next_cursor = rows.last().filter(|_| more).map(cursor);
        Listed { data: rows.into_iter().map(tell).collect(), next_cursor }
    }
}

/// The page that a list by age wants.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    limit: Limit,
    after: Option<Mark>,
}

impl Wanted {
    pub(crate) fn new(limit: Option<Limit>, cursor: Option<Cursor>) -> Wanted {
        Wanted { limit: limit.unwrap_or_default(), after: cursor.map(|cursor| cursor.0) }
    }

    /// The page to read.
    pub(crate) fn page(&self) -> ledger::Page {
        ledger::Page { after: self.after.clone(), limit: self.limit.and_one() }
    }

    /// The page to answer, from the rows that were read for [`Wanted::page`].
    pub(crate) fn listed<R, T: From<R>>(&self, rows: Vec<R>, mark: impl Fn(&R) -> Mark) -> Listed<T> {
        self.listed_as(rows, mark, T::from)
    }

    /// The same, where telling a row on the wire takes more than the row.
    pub(crate) fn listed_as<R, T>(&self, rows: Vec<R>, mark: impl Fn(&R) -> Mark, tell: impl Fn(R) -> T) -> Listed<T> {
        self.limit.listed(rows, |row| Cursor(mark(row)).to_string(), tell)
    }
}

/// The last row of the page before, in a list that is numbered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place(i64);

impl Place {
    pub(crate) fn seq(self) -> i64 {
        self.0
    }
}

impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let is_number = text.bytes().all(|b| b.is_ascii_digit());
        text.parse().ok().filter(|_| is_number).map(Place).ok_or_else(|| serde::de::Error::custom(NO_CURSOR))
    }
}

/// The last call of the page before, in a list of calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastCall(Id<Call>);

impl LastCall {
    pub(crate) fn id(self) -> Id<Call> {
        self.0
    }
}

impl<'de> Deserialize<'de> for LastCall {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(LastCall).map_err(|_| serde::de::Error::custom(NO_CURSOR))
    }
}
