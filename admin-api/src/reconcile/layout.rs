//! How a provider writes its export: which column holds what, and how a cell is read. Every fault names line and column.

use ledger::{Money, Timestamp};

use crate::problem::Problem;

/// A line of the export, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Billed {
    /// Its line in the file, the header being the first.
    pub line: u64,
    /// Days since 1970 in UTC.
    pub day: i64,
    /// The key as the export names it; empty where it names none.
    pub key: String,
    pub model: String,
    pub requests: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost: Option<Money>,
}

/// The layouts that are known, by their words in the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    OpenAi,
    Anthropic,
    Generic,
}

/// Which columns a layout has. The first of a list that is there counts; those of `input` and `output` are summed.
struct Columns {
    date: &'static [&'static str],
    key: &'static [&'static str],
    model: &'static [&'static str],
    requests: &'static [&'static str],
    input: &'static [&'static str],
    output: &'static [&'static str],
    cost: &'static [&'static str],
}

impl Layout {
    pub(crate) const WORDS: &'static str = "openai, anthropic, generic";

    pub(crate) fn from_word(word: &str) -> Option<Layout> {
        [Layout::OpenAi, Layout::Anthropic, Layout::Generic].into_iter().find(|layout| layout.word() == word)
    }

    pub(crate) fn word(self) -> &'static str {
        match self {
            Layout::OpenAi => "openai",
            Layout::Anthropic => "anthropic",
            Layout::Generic => "generic",
        }
    }

    /// The layout that a header is of, told by its column of time.
    fn of(header: &[String]) -> Layout {
        let has = |name: &str| header.iter().any(|column| column == name);
        match () {
            () if has("usage_date_utc") => Layout::Anthropic,
            () if has("start_time") || has("start_time_iso") => Layout::OpenAi,
            () => Layout::Generic,
        }
    }

    fn columns(self) -> Columns {
        match self {
            // Input tokens include those from a cache; a line item of the costs is "model, class".
            Layout::OpenAi => Columns {
                date: &["start_time_iso", "start_time"],
                key: &["api_key_id", "api_key_name", "api_key"],
                model: &["model", "line_item"],
                requests: &["num_model_requests"],
                input: &["input_tokens"],
                output: &["output_tokens"],
                cost: &["amount_value", "amount", "cost_usd"],
            },
            // The usage export has classes of tokens, the cost export a line for each class.
            Layout::Anthropic => Columns {
                date: &["usage_date_utc"],
                key: &["api_key", "api_key_id"],
                model: &["model_version", "model"],
                requests: &[],
                input: &[
                    "usage_input_tokens_no_cache",
                    "usage_input_tokens_cache_write",
                    "usage_input_tokens_cache_write_5m",
                    "usage_input_tokens_cache_write_1h",
                    "usage_input_tokens_cache_read",
                ],
                output: &["usage_output_tokens"],
                cost: &["cost_usd"],
            },
            Layout::Generic => Columns {
                date: &["date"],
                key: &["key"],
                model: &["model"],
                requests: &["requests"],
                input: &["input_tokens"],
                output: &["output_tokens"],
                cost: &["cost_usd"],
            },
        }
    }
}

/// Where the columns of a layout are in this file.
struct Places {
    date: (usize, String),
    key: Option<usize>,
    model: (usize, String),
    requests: Vec<(usize, String)>,
    input: Vec<(usize, String)>,
    output: Vec<(usize, String)>,
    cost: Option<(usize, String)>,
}

/// Reads an export whole. The layout is told by its header, unless it is said.
pub(crate) fn read(csv: &[u8], layout: Option<Layout>) -> Result<(Layout, Vec<Billed>), Problem> {
    let csv = csv.strip_prefix(b"\xef\xbb\xbf").unwrap_or(csv);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let mut records = reader.byte_records();
    let header = match records.next() {
        Some(header) => header.map_err(|error| broken(1, &error))?,
        None => return Err(fault(1, "header", "is needed: the file is empty")),
    };
    let header: Vec<String> =
        header.iter().map(|name| String::from_utf8_lossy(name).trim().to_ascii_lowercase().replace(' ', "_")).collect();
    let layout = layout.unwrap_or_else(|| Layout::of(&header));
    let places = places(layout, &header)?;
    let mut lines = Vec::new();
    let mut counter = Counter { csv, at: 0, line: 1 };
    for record in records {
        let record = record.map_err(|error| broken(counter.line_of(error.position()), &error))?;
        let line = counter.line_of(record.position());
        if record.iter().all(<[u8]>::is_empty) {
            continue;
        }
        lines.extend(billed(line, &record, &places)?);
    }
    Ok((layout, lines))
}

/// Counts lines. The reader's own count lags behind by the one that ends a line of the old style, `\r\n`.
struct Counter<'a> {
    csv: &'a [u8],
    at: usize,
    line: u64,
}

impl Counter<'_> {
    /// The line on which what begins at this place does.
    fn line_of(&mut self, place: Option<&csv::Position>) -> u64 {
        let begun = place.and_then(|place| usize::try_from(place.byte()).ok()).unwrap_or(self.at);
        while let Some(byte) = self.csv.get(self.at).filter(|byte| self.at < begun || matches!(byte, b'\r' | b'\n')) {
            self.line += u64::from(*byte == b'\n');
            self.at += 1;
        }
        self.line
    }
}

fn places(layout: Layout, header: &[String]) -> Result<Places, Problem> {
    let columns = layout.columns();
    let place = |name: &&str| Some((header.iter().position(|column| column == name)?, (*name).to_owned()));
    let first = |names: &[&str]| names.iter().find_map(place);
    let all = |names: &[&str]| names.iter().filter_map(place).collect::<Vec<_>>();
    let needed = |names: &'static [&'static str]| {
        let missing = || fault(1, names.join(" or "), format!("is needed in an export of layout {}", layout.word()));
        first(names).ok_or_else(missing)
    };
    let places = Places {
        date: needed(columns.date)?,
        key: first(columns.key).map(|(place, _)| place),
        model: needed(columns.model)?,
        requests: all(columns.requests),
        input: all(columns.input),
        output: all(columns.output),
        cost: first(columns.cost),
    };
    if places.input.is_empty() && places.output.is_empty() && places.cost.is_none() {
        let names = [columns.input, columns.output, columns.cost].concat().join(" or ");
        return Err(fault(1, names, "is needed: an export tells tokens or costs"));
    }
    Ok(places)
}

/// A line, unless it says of no model that nothing was used.
fn billed(line: u64, record: &csv::ByteRecord, places: &Places) -> Result<Option<Billed>, Problem> {
    let cell = |place: usize, column: &str| {
        let bytes = record.get(place).unwrap_or_default();
        std::str::from_utf8(bytes).map(str::trim).map_err(|_| fault(line, column, "is not UTF-8"))
    };
    let sum = |columns: &[(usize, String)]| -> Result<Option<u64>, Problem> {
        let mut sum = None;
        for (place, column) in columns {
            let text = cell(*place, column)?;
            let count = if text.is_empty() { 0 } else { whole(text).ok_or_else(|| not_whole(line, column))? };
            let so_far: u64 = sum.unwrap_or(0);
            sum = Some(so_far.checked_add(count).ok_or_else(|| not_whole(line, column))?);
        }
        Ok(sum)
    };
    let cost = match &places.cost {
        Some((place, column)) => {
            let text = cell(*place, column)?;
            Some(if text.is_empty() { Money::ZERO } else { money(text).ok_or_else(|| not_money(line, column))? })
        }
        None => None,
    };
    let model = cell(places.model.0, &places.model.1)?;
    // "gpt-4o-2024-08-06, input": a line item of costs names the class too.
    let model = model.split(',').next().unwrap_or(model).trim().to_owned();
    let billed = Billed {
        line,
        day: day(cell(places.date.0, &places.date.1)?).ok_or_else(|| {
            fault(line, &places.date.1, "must be a day such as 2026-01-31, a moment (RFC 3339) or seconds since 1970")
        })?,
        key: places.key.map_or(Ok(""), |place| cell(place, "key"))?.to_owned(),
        model,
        requests: sum(&places.requests)?,
        input_tokens: sum(&places.input)?,
        output_tokens: sum(&places.output)?,
        cost,
    };
    let told = [billed.requests, billed.input_tokens, billed.output_tokens];
    let nothing = told.iter().all(|count| count.unwrap_or(0) == 0) && billed.cost.unwrap_or(Money::ZERO) == Money::ZERO;
    match (billed.model.is_empty(), nothing) {
        (true, true) => Ok(None),
        (true, false) => Err(fault(line, &places.model.1, "is needed where something was used")),
        (false, _) => Ok(Some(billed)),
    }
}

/// Days since 1970, of a day, a moment or seconds.
fn day(text: &str) -> Option<i64> {
    const DAY_MICROS: i64 = 86_400_000_000;
    let micros = if text.len() == 10 && text.contains('-') {
        format!("{text}T00:00:00Z").parse::<Timestamp>().ok()?.micros()
    } else if let Ok(at) = text.replacen(' ', "T", 1).parse::<Timestamp>() {
        at.micros()
    } else {
        i64::try_from(whole(text)?).ok()?.checked_mul(1_000_000)?
    };
    // From 1970 to 2100: anything else is another column's number.
    Some(micros.div_euclid(DAY_MICROS)).filter(|day| (0..47_482).contains(day))
}

fn whole(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}

/// Decimal dollars, also `$1.20` and `1.2e-05`, to the nearest nano-dollar: providers tell more digits than they bill.
fn money(text: &str) -> Option<Money> {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let text = text.strip_prefix('$').unwrap_or(text);
    let (digits, exponent) = match text.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok().filter(|it| (-30..=9).contains(it))?),
        None => (text, 0),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !all_digits(whole) || !all_digits(part) || whole.len() + part.len() > 34 {
        return None;
    }
    let value: i128 = format!("{whole}{part}").parse().ok()?;
    let shift = 9 + exponent - i32::try_from(part.len()).ok()?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    let nanos =
        if shift >= 0 { value.checked_mul(power?)? } else { power.map_or(0, |power| (value + power / 2) / power) };
    let nanos = i64::try_from(nanos).ok()?;
    Some(Money::from_nanos(if negative { -nanos } else { nanos }))
}

fn broken(line: u64, error: &csv::Error) -> Problem {
    let detail = match error.kind() {
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("has {len} cells, the header has {expected_len}")
        }
        _ => "cannot be read as CSV".to_owned(),
    };
    Problem::Member { member: format!("line {line}"), detail }
}

fn not_whole(line: u64, column: &str) -> Problem {
    fault(line, column, "must be a whole number, not negative")
}

fn not_money(line: u64, column: &str) -> Problem {
    fault(line, column, "must be a decimal number of US dollars such as 12.50")
}

/// The cell itself is not repeated: who knows what is in it.
fn fault(line: u64, column: impl AsRef<str>, detail: impl Into<String>) -> Problem {
    Problem::Member { member: format!("line {line}, column {}", column.as_ref()), detail: detail.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Money {
        text.parse().unwrap()
    }

    fn line(text: &str) -> (Layout, Vec<Billed>) {
        read(text.as_bytes(), None).unwrap_or_else(|problem| panic!("{problem:?}"))
    }

    #[test]
    fn each_layout_is_told_by_its_header() {
        let day = 20_669; // 2026-08-04
        let base = Billed {
            line: 2,
            day,
            key: "prod".into(),
            model: "m".into(),
            requests: None,
            input_tokens: None,
            output_tokens: None,
            cost: None,
        };
        for (text, layout, expected) in [
            (
                "date,key,model,requests,input_tokens,output_tokens,cost_usd\n2026-08-04,prod,m,2,10,5,0.5\n",
                Layout::Generic,
                Billed {
                    requests: Some(2),
                    input_tokens: Some(10),
                    output_tokens: Some(5),
                    cost: Some(usd("0.5")),
                    ..base.clone()
                },
            ),
            (
                "\u{feff}Date,Key,Model,Cost USD,Note\r\n2026-08-04T23:59:59Z,prod,m,$1.20,\"a, b\"\r\n",
                Layout::Generic,
                Billed { cost: Some(usd("1.2")), ..base.clone() },
            ),
            (
                "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,api_key_id,model,input_tokens,output_tokens,input_cached_tokens\n\
                 1785801600,1785888000,2026-08-04T00:00:00+00:00,2026-08-05T00:00:00+00:00,3,prod,m,10,5,4\n",
                Layout::OpenAi,
                Billed { requests: Some(3), input_tokens: Some(10), output_tokens: Some(5), ..base.clone() },
            ),
            (
                "start_time,api_key_id,line_item,amount_value\n1785801600,prod,\"m, input\",1.25e-05\n",
                Layout::OpenAi,
                Billed { cost: Some(usd("0.0000125")), ..base.clone() },
            ),
            (
                "usage_date_utc,model_version,api_key,workspace,usage_type,context_window,usage_input_tokens_no_cache,\
                 usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n\
                 2026-08-04,m,prod,Default,standard,≤ 200k,10,1,2,30,5,0\n",
                Layout::Anthropic,
                Billed { input_tokens: Some(43), output_tokens: Some(5), ..base.clone() },
            ),
            (
                "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,cost_type\n\
                 2026-08-04,m,Default,prod,message,≤ 200k,input_no_cache,0.05,token\n",
                Layout::Anthropic,
                Billed { cost: Some(usd("0.05")), ..base.clone() },
            ),
        ] {
            assert_eq!(line(text), (layout, vec![expected]), "{text}");
        }
    }

    #[test]
    fn a_line_is_counted_as_an_editor_counts_it() {
        for end in ["\n", "\r\n"] {
            let rows = ["date,model,cost_usd", "2026-08-04,m,1", "", "2026-08-04,\"m\nn\",1", "2026-08-04,m,x"];
            let text = rows.join(end);
            let Err(Problem::Member { member, .. }) = read(text.as_bytes(), None) else { panic!("a fault") };
            assert_eq!(member, "line 6, column cost_usd");
            let lines: Vec<_> = line(&text.replace(",x", ",2")).1.into_iter().map(|it| it.line).collect();
            assert_eq!(lines, [2, 4, 6]);
        }
    }

    #[test]
    fn lines_of_which_nothing_is_told_are_left_out() {
        let text = "start_time,model,input_tokens,output_tokens\n1785801600,,,\n1785801600,m,0,0\n,,,\n";
        assert_eq!(line(text).1.len(), 1, "a bucket of no model is empty; a model that used nothing is told");
    }

    #[test]
    fn every_fault_names_its_line_and_column() {
        let head = "date,key,model,input_tokens,output_tokens,cost_usd";
        for (text, member, detail) in [
            (String::new(), "line 1, column header", "empty"),
            ("key,model,cost_usd\n".into(), "line 1, column date", "generic"),
            ("date,model\n".into(), "line 1, column input_tokens or output_tokens or cost_usd", "tokens or costs"),
            ("usage_date_utc,cost_usd\n".into(), "line 1, column model_version or model", "anthropic"),
            (format!("{head}\n2026-08-04,k,m,1,1,1\nyesterday,k,m,1,1,1\n"), "line 3, column date", "2026-01-31"),
            (format!("{head}\n2026-02-30,k,m,1,1,1\n"), "line 2, column date", "2026-01-31"),
            (format!("{head}\n2026-08-04,k,m,-1,1,1\n"), "line 2, column input_tokens", "whole number"),
            (format!("{head}\n2026-08-04,k,m,1,1.5,1\n"), "line 2, column output_tokens", "whole number"),
            (format!("{head}\n2026-08-04,k,m,99999999999999999999,1,1\n"), "line 2, column input_tokens", "whole"),
            (format!("{head}\n2026-08-04,k,m,1,1,NaN\n"), "line 2, column cost_usd", "US dollars"),
            (format!("{head}\n2026-08-04,k,m,1,1,\"1,5\"\n"), "line 2, column cost_usd", "US dollars"),
            (format!("{head}\n2026-08-04,k,m,1,1,9223372037\n"), "line 2, column cost_usd", "US dollars"),
            (format!("{head}\n2026-08-04,k,,1,1,1\n"), "line 2, column model", "is needed"),
            (format!("{head}\n2026-08-04,k,m,1,1\n"), "line 2", "5 cells, the header has 6"),
        ] {
            match read(text.as_bytes(), None) {
                Err(Problem::Member { member: told, detail: why }) => {
                    assert_eq!(told, member, "{text}");
                    assert!(why.contains(detail), "{why}");
                }
                other => panic!("{text}: {other:?}"),
            }
        }
        let bytes = [head.as_bytes(), b"\n2026-08-04,k,m\xff,1,1,1\n"].concat();
        assert!(matches!(read(&bytes, None), Err(Problem::Member { member, .. }) if member == "line 2, column model"));
    }

    #[test]
    fn dollars_are_read_to_the_nearest_nano_dollar() {
        for (text, nanos) in [
            ("0", Some(0)),
            ("12.5", Some(12_500_000_000)),
            ("-0.25", Some(-250_000_000)),
            ("$3", Some(3_000_000_000)),
            ("0.0000000014", Some(1)),
            ("0.0000000015", Some(2)),
            ("1.5e-8", Some(15)),
            ("1e-30", Some(0)),
            ("2E3", Some(2_000_000_000_000)),
            ("9223372036.854775807", Some(i64::MAX)),
            ("9223372036.854775808", None),
            ("1e10", None),
            ("inf", None),
            ("", None),
            (".5", None),
            ("1.", None),
            ("1e", None),
            ("--1", None),
        ] {
            assert_eq!(money(text), nanos.map(Money::from_nanos), "{text:?}");
        }
    }
}
