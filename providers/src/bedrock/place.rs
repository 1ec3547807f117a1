//! Where Bedrock is: its regions, their addresses, and the labels that policies know them by.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use url::Url;

/// The setting that names the region.
pub(crate) const SETTING: &str = "aws_region";
const USUAL: &str = "us-east-1";

/// What to say to who gave no keys.
pub(crate) const NEEDS: &str = "needs aws: { access_key_id: { env: AWS_ACCESS_KEY_ID }, secret_access_key: { env: AWS_SECRET_ACCESS_KEY } }, or api_key: { env: AWS_BEARER_TOKEN_BEDROCK }";

/// The region that the settings name, or the usual one; none if what they name cannot be a region.
pub(crate) fn region(settings: &BTreeMap<String, String>) -> Option<&str> {
    let region = settings.get(SETTING).map_or(USUAL, String::as_str);
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_one = region.len() <= 32 && region.split('-').count() >= 3 && region.bytes().all(fits);
    is_one.then_some(region)
}

/// Its address.
pub(crate) fn base_url(region: &str) -> String {
    format!("https://bedrock-runtime.{region}.amazonaws.com")
}

/// Its label: `us`, `eu`, `ap`…
pub(crate) fn label(region: &str) -> &str {
    region.split('-').next().unwrap_or(region)
}

/// A profile that may compute anywhere in the world computes nowhere in particular, whatever region it is asked in.
pub(crate) fn is_everywhere(model: &str) -> bool {
    model.rsplit('/').next().is_some_and(|id| id.starts_with("global."))
}

/// The region that a signature names: the one of the settings, else the one that the address names.
pub(super) fn signing_region<'a>(settings: &'a BTreeMap<String, String>, base_url: &'a Url) -> Cow<'a, str> {
    let named = settings.get(SETTING).map(String::as_str);
    let host = base_url.host_str().unwrap_or_default();
    let of_host = || {
        let mut labels = host.split('.').skip_while(|it| !it.starts_with("bedrock-runtime"));
        labels.nth(1).filter(|_| host.ends_with(".amazonaws.com"))
    };
    Cow::Borrowed(named.or_else(of_host).unwrap_or(USUAL))
}

/// A model's id as one segment of a path: ids hold colons, ARNs slashes.
pub(super) fn segment(model: &str) -> String {
    let mut out = String::with_capacity(model.len() + 8);
    for byte in model.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_named_by_the_settings_or_by_the_address() {
        let settings =
            |region: Option<&str>| region.map(|it| (SETTING.to_owned(), it.to_owned())).into_iter().collect();
        for (named, address, expected) in [
            (None, "https://proxy.local/bedrock", "us-east-1"),
            (None, "https://bedrock-runtime.eu-central-1.amazonaws.com", "eu-central-1"),
            (None, "https://vpce-1.bedrock-runtime.ap-south-1.vpce.amazonaws.com", "ap-south-1"),
            (None, "https://bedrock-runtime-fips.us-west-2.amazonaws.com", "us-west-2"),
            (Some("eu-west-3"), "https://proxy.local", "eu-west-3"),
        ] {
            let (settings, url) = (settings(named), Url::parse(address).unwrap());
            assert_eq!(signing_region(&settings, &url), expected, "{address}");
        }
        for (named, expected) in [
            (None, Some("us-east-1")),
            (Some("us-gov-west-1"), Some("us-gov-west-1")),
            (Some("eu"), None),
            (Some("x.evil.com/-a-b"), None),
        ] {
            assert_eq!(region(&settings(named)), expected);
        }
        assert_eq!((label("ap-southeast-2"), label("us-gov-west-1")), ("ap", "us"));
    }

    #[test]
    fn a_model_is_one_segment_whatever_it_is_called() {
        for (model, expected) in [
            ("us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-haiku-4-5-20251001-v1%3A0"),
            (
                "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x",
                "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x",
            ),
            ("a b/../c?d#e%2F", "a%20b%2F..%2Fc%3Fd%23e%252F"),
        ] {
            assert_eq!(segment(model), expected);
        }
    }
}
