//! The section of a provider's page that measurements are written into. Everything else of the page is generated.

use std::path::Path;

/// Where the section begins and ends; the generator of the pages keeps what is between.
const BEGIN: &str = "<!-- measured -->";
const END: &str = "<!-- /measured -->";
const HEAD: &str = "| model | day | calls | first token p50 / p95 | whole p50 / p95 | tokens/s | tokens in / out | cost of a call |\n|---|---|---|---|---|---|---|---|\n";

/// The figures of one model.
pub(super) struct Row {
    /// `kind/model`: what a reader can compare, whatever the provider is called in a configuration.
    pub name: String,
    pub cells: Vec<String>,
}

/// Puts the row into the page, in place of an older one of the same model.
pub(super) fn write(page: &Path, row: &Row) -> Result<(), String> {
    let complain = |what: &str, error: std::io::Error| format!("cannot {what} {}: {error}", page.display());
    let text = std::fs::read_to_string(page).map_err(|error| complain("read", error))?;
    let Some(written) = with(&text, row) else {
        return Err(format!("{} has no section '{BEGIN}' … '{END}' to write into", page.display()));
    };
    std::fs::write(page, written).map_err(|error| complain("write", error))
}

fn with(page: &str, row: &Row) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (section, after) = rest.split_once(END)?;
    let own = format!("| `{}` |", row.name);
    let line = format!("{own} {} |", row.cells.join(" | "));
    let mut rows: Vec<&str> = section.lines().filter(|it| it.starts_with("| `") && !it.starts_with(&own)).collect();
    rows.push(&line);
    rows.sort_unstable();
    Some(format!("{before}{BEGIN}\n{HEAD}{}\n{END}{after}", rows.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_replaces_the_older_one_of_its_model_and_touches_nothing_else() {
        let row = |name: &str, ms: &str| Row { name: name.to_owned(), cells: vec!["2026-11-20".into(), ms.into()] };
        let page = format!("# A\n\n{BEGIN}\nNothing yet.\n{END}\n\n## B\n");
        let once = with(&page, &row("openai/b", "1 ms")).expect("a section");
        let twice = with(&once, &row("openai/a", "2 ms")).expect("a section");
        let again = with(&twice, &row("openai/b", "3 ms")).expect("a section");
        let expected = format!(
            "# A\n\n{BEGIN}\n{HEAD}| `openai/a` | 2026-11-20 | 2 ms |\n| `openai/b` | 2026-11-20 | 3 ms |\n{END}\n\n## B\n"
        );
        assert_eq!(again, expected);
        assert_eq!(with("# A\n", &row("a/b", "1 ms")), None);
    }
}
