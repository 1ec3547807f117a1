//! The settings of the library's rules, one row and one small struct each, by the rule's name.
//!
//! A rule `business_hours` that reads `data.alfred.business_hours` needs three things here: its row, its struct within
//! `settings! { … }`, and `impl Setting`, with `wrong` where the types leave something open.

use super::Row;

pub(super) const ROWS: &[Row] = &[];
