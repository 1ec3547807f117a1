//! Addresses with gaps: an account, a region or a project of the caller's own, filled in from the configuration's `settings`.

use std::collections::BTreeMap;

/// Why an address cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Gap {
    /// The configuration is silent.
    #[error("the address {template} needs the setting {name}")]
    Silent { name: String, template: String },
    /// It says what could lead elsewhere.
    #[error("must be letters, digits, '-', '_' or '.'")]
    Word { name: String },
    /// A brace without its other half.
    #[error("{0} has a brace without its other half")]
    Torn(String),
}

/// The address with the settings in it.
pub(crate) fn filled(template: &str, settings: &BTreeMap<String, String>) -> Result<String, Gap> {
    fill(template, |name| settings.get(name).map(String::as_str))
}

/// The address with each `{word}` replaced. A word is no more than a word: a slash or an `@` would lead the key elsewhere.
pub(super) fn fill<'a>(template: &str, word: impl Fn(&str) -> Option<&'a str>) -> Result<String, Gap> {
    let torn = || Gap::Torn(template.to_owned());
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or_else(torn)?;
        let Some(value) = word(name) else {
            return Err(Gap::Silent { name: name.to_owned(), template: template.to_owned() });
        };
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if value.is_empty() || !value.bytes().all(plain) {
            return Err(Gap::Word { name: name.to_owned() });
        }
        out.push_str(before);
        out.push_str(value);
        rest = after;
    }
    if rest.contains('}') || out.contains('}') {
        return Err(torn());
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_is_filled_with_a_word_and_nothing_else() {
        let settings = |value: &str| BTreeMap::from([("account".to_owned(), value.to_owned())]);
        let template = "https://a.test/{account}/v1/{account}";
        assert_eq!(filled(template, &settings("me-1")).as_deref(), Ok("https://a.test/me-1/v1/me-1"));
        assert_eq!(filled("https://a.test", &settings("")).as_deref(), Ok("https://a.test"));
        for bad in ["", "a/b", "a@b", "a b", "a?b", "{a}"] {
            assert_eq!(filled(template, &settings(bad)), Err(Gap::Word { name: "account".into() }), "{bad:?}");
        }
        assert!(matches!(filled(template, &BTreeMap::new()), Err(Gap::Silent { name, .. }) if name == "account"));
        for torn in ["https://{account", "https://account}"] {
            assert!(matches!(filled(torn, &settings("a")), Err(Gap::Torn(_))), "{torn}");
        }
    }
}
