//! Credentials: what their issuers gave a form of its own, and others where a word names them. Each pattern starts
//! with one of its anchors, so that one pass over the text finds every place worth asking.

use std::ops::Range;

use regex_automata::util::captures::Captures;
use regex_automata::util::syntax;
use regex_automata::{Anchored, Input, meta};

use crate::text::{byte, escape_ends};
use crate::{Finding, Kind};

/// A form of credential.
struct Form {
    name: &'static str,
    /// Lower case; one of them starts every match of the pattern, in any case.
    anchors: &'static [&'static str],
    /// ASCII. If it has a group, that is the credential and the rest is context.
    pattern: &'static str,
    check: Check,
}

/// What else must hold of the credential.
#[derive(Clone, Copy)]
enum Check {
    /// Its form says it all, unless it only shows the form: `sk-xxxxxxxx…`.
    Form,
    /// Words joined by dashes have the same form: it needs a digit, or twenty letters in a row.
    NotWords,
    /// Nobody's in particular: it needs sixteen letters and digits in a row.
    Mixed,
    /// Only a word beside it says so: it needs letters, digits and variety.
    Random,
}

const fn form(name: &'static str, anchors: &'static [&'static str], pattern: &'static str, check: Check) -> Form {
    Form { name, anchors, pattern, check }
}

/// Between a name and its value: quotes, an assignment, `is`, and what JSON puts there.
macro_rules! assigned {
    ($name:literal, $value:literal) => {
        concat!(
            "(?i:",
            $name,
            r#")(?-i:[\\"'`\])> ]{0,4}(?:[:=]|=>|:=|is|as|,)?[\\"'`(<\[: ]{0,5}(?:Bearer |Key )?("#,
            $value,
            "))"
        )
    };
}

const FORMS: &[Form] = &[
    form("alfred_key", &["sk-alf-"], r"sk-alf-[0-9A-Za-z-]{20,}", Check::Form),
    form("anthropic_key", &["sk-ant-"], r"sk-ant-[0-9A-Za-z_-]{20,}", Check::NotWords),
    form(
        "openai_key",
        &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-none-", "sk-service-"],
        r"sk-(?:proj|svcacct|admin|None|none|service)-[0-9A-Za-z_-]{20,}",
        Check::NotWords,
    ),
    form("secret_key", &["sk-"], r"sk-[0-9A-Za-z]{1,16}-[0-9A-Za-z_-]{16,}", Check::Mixed),
    form("openrouter_key", &["sk-or-"], r"sk-or-[0-9A-Za-z_-]{20,}", Check::NotWords),
    form("openai_key", &["sk-"], r"sk-[0-9A-Za-z]{20,}", Check::Form),
    form("google_key", &["aiza"], r"AIza[0-9A-Za-z_-]{30,}", Check::Form),
    form("google_oauth_token", &["ya29."], r"ya29\.[0-9A-Za-z_-]{20,}", Check::NotWords),
    form("google_client_secret", &["gocspx-"], r"GOCSPX-[0-9A-Za-z_-]{20,}", Check::NotWords),
    form("aws_access_key", &["akia"], r"AKIA[0-9A-Z]{16}", Check::Form),
    form("aws_access_key", &["asia", "abia", "acca"], r"(?:ASIA|ABIA|ACCA)[0-9A-Z]{16}", Check::Random),
    form(
        "aws_secret_key",
        &["akia", "asia"],
        r#"(?:AKIA|ASIA)[0-9A-Z]{16}[^0-9A-Za-z/+\n]{1,6}([0-9A-Za-z/+]{40})"#,
        Check::Random,
    ),
    form(
        "aws_secret_key",
        &["secret"],
        assigned!("secret[ _-]?(?:access[ _-]?)?key", "[0-9A-Za-z/+]{40}"),
        Check::Random,
    ),
    form(
        "aws_secret_key",
        &["aws"],
        r#"(?i:aws)[^\n]{0,40}?(?i:secret|key)[^0-9A-Za-z/+\n]{1,6}(?:is )?["']?([0-9A-Za-z/+]{40})"#,
        Check::Random,
    ),
    form(
        "azure_key",
        &["accountkey=", "sharedaccesskey="],
        r"(?i:AccountKey|SharedAccessKey)=([0-9A-Za-z+/]{40,100}={0,2})",
        Check::Random,
    ),
    form(
        "azure_key",
        &["ocp-apim-subscription-key"],
        assigned!("ocp-apim-subscription-key", "[0-9A-Za-z]{32,84}"),
        Check::Random,
    ),
    form(
        "azure_key",
        &["azure"],
        r#"(?i:azure)[^\n]{0,48}?(?i:key|token|secret)[^0-9A-Za-z\n]{1,6}(?:is )?["']?([0-9A-Za-z]{84}|[0-9a-f]{32})"#,
        Check::Random,
    ),
    form(
        "named_key",
        &["mistral", "cohere", "co_api", "deepseek", "together", "voyage"],
        r#"(?i:mistral|cohere|co_api|deepseek|together|voyage)[^\n]{0,32}?(?i:key|token|secret)[^0-9A-Za-z\n]{1,6}(?:is )?["']?([0-9A-Za-z]{32,64})"#,
        Check::Random,
    ),
    form(
        "named_key",
        &["api key", "api-key", "api_key", "apikey", "api token", "api-token", "api_token"],
        assigned!("api[ _-]?(?:key|token)(?: (?:for|of|to|from) [a-z ]{1,24}?)?", "[0-9A-Za-z]{32,128}"),
        Check::Random,
    ),
    form(
        "named_key",
        &[
            "access token",
            "access-token",
            "access_token",
            "auth token",
            "auth-token",
            "auth_token",
            "authtoken",
            "accesstoken",
            "client secret",
            "client-secret",
            "client_secret",
            "clientsecret",
            "secret key",
            "secret-key",
            "secret_key",
            "secretkey",
        ],
        assigned!("(?:(?:access|auth)[ _-]?token|client[ _-]?secret|secret[ _-]?key)", "[0-9A-Za-z]{32,128}"),
        Check::Random,
    ),
    form("bearer_token", &["bearer "], r"(?i:bearer) ([0-9A-Za-z._~+/-]{32,}={0,2})", Check::Random),
    form("github_token", &["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"gh[pousr]_[0-9A-Za-z]{30,}", Check::Form),
    form("github_token", &["github_pat_"], r"github_pat_[0-9A-Za-z_]{22,}", Check::NotWords),
    form(
        "gitlab_token",
        &["glpat-", "gldt-", "glrt-", "glptt-", "glcbt-"],
        r"gl(?:pat|dt|rt|ptt|cbt)-[0-9A-Za-z_-]{20,}(?:\.[0-9a-z]{2}\.[0-9a-z]{9})?",
        Check::NotWords,
    ),
    form(
        "slack_token",
        &["xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xoxc-", "xoxd-"],
        r"xox[abeoprscd]-[0-9A-Za-z-]{10,}",
        Check::NotWords,
    ),
    form("slack_token", &["xapp-"], r"xapp-[0-9A-Za-z-]{20,}", Check::NotWords),
    form("slack_webhook", &["hooks.slack.com/services/"], r"hooks\.slack\.com/services/[0-9A-Za-z/]{20,}", Check::Form),
    form(
        "stripe_key",
        &["sk_live_", "sk_test_", "rk_live_", "rk_test_"],
        r"[sr]k_(?:live|test)_[0-9A-Za-z]{10,}",
        Check::Form,
    ),
    form("stripe_webhook_secret", &["whsec_"], r"whsec_[0-9A-Za-z+/=]{24,}", Check::Form),
    form("huggingface_token", &["hf_", "api_org_"], r"(?:hf|api_org)_[0-9A-Za-z]{30,}", Check::Form),
    form("groq_key", &["gsk_"], r"gsk_[0-9A-Za-z]{32,}", Check::Form),
    form("xai_key", &["xai-"], r"xai-[0-9A-Za-z]{40,}", Check::Form),
    form("perplexity_key", &["pplx-"], r"pplx-[0-9A-Za-z]{32,}", Check::Form),
    form("replicate_token", &["r8_"], r"r8_[0-9A-Za-z]{32,}", Check::Form),
    form("fireworks_key", &["fw_"], r"fw_[0-9A-Za-z]{22,}", Check::Random),
    form("cerebras_key", &["csk-"], r"csk-[0-9A-Za-z]{32,}", Check::Form),
    form("nvidia_key", &["nvapi-"], r"nvapi-[0-9A-Za-z_-]{40,}", Check::NotWords),
    form("pinecone_key", &["pcsk_"], r"pcsk_[0-9A-Za-z_]{40,}", Check::NotWords),
    form("langsmith_key", &["lsv2_"], r"lsv2_[a-z]{2}_[0-9a-f_]{32,}", Check::Form),
    form("npm_token", &["npm_"], r"npm_[0-9A-Za-z]{36,}", Check::Form),
    form("pypi_token", &["pypi-"], r"pypi-[0-9A-Za-z_-]{50,}", Check::NotWords),
    form("sendgrid_key", &["sg."], r"SG\.[0-9A-Za-z_-]{16,32}\.[0-9A-Za-z_-]{32,64}", Check::Form),
    form(
        "twilio_key",
        &[
            "sk0", "sk1", "sk2", "sk3", "sk4", "sk5", "sk6", "sk7", "sk8", "sk9", "ska", "skb", "skc", "skd", "ske",
            "skf",
        ],
        r"SK[0-9a-f]{32}",
        Check::Form,
    ),
    form("mailgun_key", &["key-"], r"key-[0-9a-f]{32}", Check::Form),
    form("digitalocean_token", &["dop_v1_", "doo_v1_", "dor_v1_"], r"do[por]_v1_[0-9a-f]{64}", Check::Form),
    form(
        "shopify_token",
        &["shpat_", "shpca_", "shppa_", "shpss_"],
        r"shp(?:at|ca|pa|ss)_[0-9A-Fa-f]{32}",
        Check::Form,
    ),
    form("databricks_token", &["dapi"], r"dapi[0-9a-f]{32}(?:-[0-9])?", Check::Form),
    form("vault_token", &["hvs.", "hvb."], r"hv[sb]\.[0-9A-Za-z_-]{24,}", Check::Form),
    form("atlassian_token", &["atatt3"], r"ATATT3[0-9A-Za-z_-]{50,}(?:=[0-9A-F]{8})?", Check::Form),
    form("linear_key", &["lin_api_"], r"lin_api_[0-9A-Za-z]{32,}", Check::Form),
    form("notion_token", &["ntn_"], r"ntn_[0-9A-Za-z]{40,}", Check::Form),
    form("grafana_token", &["glsa_", "glc_"], r"gl(?:sa|c)_[0-9A-Za-z_]{32,}", Check::NotWords),
    form("new_relic_key", &["nrak-"], r"NRAK-[0-9A-Z]{27}", Check::Form),
    form("square_token", &["sq0atp-", "sq0csp-"], r"sq0(?:atp|csp)-[0-9A-Za-z_-]{22,}", Check::Form),
    form("postman_key", &["pmak-"], r"PMAK-[0-9a-f]{24}-[0-9a-f]{34}", Check::Form),
    form("age_secret_key", &["age-secret-key-1"], r"AGE-SECRET-KEY-1[0-9A-Z]{58}", Check::Form),
    form("jwt", &["eyj"], r"eyJ[0-9A-Za-z_-]{8,}\.eyJ[0-9A-Za-z_-]{8,}\.[0-9A-Za-z_-]{8,}", Check::Form),
    form(
        "private_key",
        &["-----begin "],
        concat!(
            r"-----BEGIN [0-9A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----(?:",
            r"(?:[0-9A-Za-z+/=\s\\:,.()]|-[0-9A-Za-z])*-----END [0-9A-Z ]{0,30}PRIVATE KEY(?: BLOCK)?-----",
            r"|(?:\s|\\[nr])*[0-9A-Za-z+/=]{24,}(?:(?:\s|\\[nr])+[0-9A-Za-z+/=]{24,})*)",
        ),
        Check::Form,
    ),
];

/// The compiled forms.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    patterns: Vec<meta::Regex>,
}

impl ApiKeys {
    pub(crate) fn new() -> ApiKeys {
        let ascii = syntax::Config::new().unicode(false).utf8(false);
        let compile = |form: &Form| {
            meta::Regex::builder()
                .syntax(ascii)
                .configure(meta::Config::new().utf8_empty(false))
                .build(form.pattern)
                .expect("the patterns are constants and a test compiles them")
        };
        ApiKeys { patterns: FORMS.iter().map(compile).collect() }
    }

    /// Every anchor with the form it starts.
    pub(crate) fn anchors() -> impl Iterator<Item = (&'static str, usize)> {
        FORMS
            .iter()
            .enumerate()
            .flat_map(|(form, Form { anchors, .. })| anchors.iter().map(move |anchor| (*anchor, form)))
    }

    /// How many forms there are.
    #[cfg(test)]
    pub(crate) fn forms() -> usize {
        FORMS.len()
    }

    /// Whether the form stands at `start`.
    pub(crate) fn at(&self, text: &[u8], form: usize, start: usize) -> Option<Finding> {
        let Form { name, anchors, check, .. } = &FORMS[form];
        let context = self.patterns[form].captures_len() > 1;
        if !context && !anchors[0].starts_with('-') && !token_opens(text, start) {
            return None;
        }
        let input = Input::new(text).range(start..).anchored(Anchored::Yes);
        // Most anchors start nothing: that is settled by the automaton alone.
        let range = if context {
            if !self.patterns[form].is_match(input.clone().earliest(true)) {
                return None;
            }
            let mut groups: Captures = self.patterns[form].create_captures();
            self.patterns[form].search_captures(&input, &mut groups);
            groups.get_group(1)?.range()
        } else {
            self.patterns[form].search(&input)?.range()
        };
        let range = trimmed(text, range);
        let sure = is_whole(text, &range, name) && check.holds(&text[range.clone()]);
        sure.then_some(Finding { kind: Kind::ApiKey, detector: name, range })
    }
}

/// A token starts where no other token's character runs into it. This also keeps a scan linear: within a run of such
/// characters there is one place to ask.
fn token_opens(text: &[u8], at: usize) -> bool {
    at == 0 || !is_token(text[at - 1]) || escape_ends(text, at)
}

const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// A dash or a dot at the end belongs to the sentence.
fn trimmed(text: &[u8], range: Range<usize>) -> Range<usize> {
    let found = &text[range.clone()];
    let tail = found.iter().rev().take_while(|b| matches!(b, b'.')).count();
    range.start..range.end - tail
}

/// Nothing that could belong to the token follows: a longer run has another form.
fn is_whole(text: &[u8], range: &Range<usize>, name: &str) -> bool {
    name == "private_key" || byte(text, range.end).is_none_or(|b| !b.is_ascii_alphanumeric())
}

impl Check {
    fn holds(self, token: &[u8]) -> bool {
        let shown =
            token.len() >= 12 && token[token.len() - 12..].iter().all(|b| matches!(b, b'x' | b'X' | b'*' | b'.'));
        !shown
            && match self {
                Check::Form => true,
                Check::NotWords => {
                    let mut parts = token.split(|b| !b.is_ascii_alphanumeric());
                    token.iter().any(u8::is_ascii_digit) || parts.any(|part| part.len() >= 20)
                }
                Check::Mixed => token.split(|b| !b.is_ascii_alphanumeric()).any(|part| {
                    part.len() >= 16 && part.iter().any(u8::is_ascii_digit) && part.iter().any(u8::is_ascii_alphabetic)
                }),
                Check::Random => {
                    let mut seen = [false; 128];
                    token.iter().for_each(|b| seen[usize::from(b & 0x7f)] = true);
                    token.iter().any(u8::is_ascii_digit)
                        && token.iter().any(u8::is_ascii_alphabetic)
                        && seen.iter().filter(|&&seen| seen).count() >= 10
                }
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(&'static str, &str)> {
        let findings = crate::Scanner::new().find(text);
        findings.into_iter().filter(|f| f.kind == Kind::ApiKey).map(|f| (f.detector, &text[f.range])).collect()
    }

    #[test]
    fn tokens_with_a_form_of_their_own_are_found_anywhere() {
        for (name, token) in [
            (
                "alfred_key",
                "sk-alf-01920000000070008000000000000000-AbCdEfGhIjKlMnOpQrStUvWxYz0123456789AbCdEfG-a1B2c3",
            ),
            ("openai_key", "sk-abcdefghijklmnopqrstT3BlbkFJabcdefghijklmnopqrst"),
            ("openai_key", "sk-proj-Ab1_Ab1-Ab1_Ab1-Ab1_Ab1-Ab1_Ab1-Ab1_T3BlbkFJ_x"),
            ("anthropic_key", "sk-ant-api03-Ab1_Ab1-Ab1_Ab1-Ab1_Ab1-Ab1_Ab1-AA"),
            ("secret_key", "sk-test-0123456789abcdef"),
            ("openrouter_key", "sk-or-v1-0123456789abcdef0123456789abcdef"),
            ("google_key", "AIzaSyA1234567890abcdefghijklmnopqrstuv"),
            ("aws_access_key", "AKIAIOSFODNN7EXAMPLE"),
            ("aws_access_key", "ASIAIOSFODNN7EXAMPLE"),
            ("github_token", "ghp_0123456789abcdefghijABCDEFGHIJ012345"),
            ("github_token", "github_pat_11ABCDEFG0123456789abc_0123456789abcdefghijklmnopqrstuvwxyz"),
            ("gitlab_token", "glpat-Ab1_Ab1-Ab1_Ab1-Ab1_"),
            ("slack_token", "xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx"),
            ("stripe_key", "sk_live_4eC39HqLyjWDarjtT1zdp7dc"),
            ("stripe_key", "rk_live_4eC39HqLyjWDarjtT1zdp7dc"),
            ("huggingface_token", "hf_AbCdEfGhIjKlMnOpQrStUvWxYzAbCdEfGh"),
            ("groq_key", "gsk_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCD"),
            ("xai_key", "xai-0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ"),
            ("sendgrid_key", "SG.0123456789abcdefghijAB.0123456789abcdefghijABCDEFGHIJ0123456789abc"),
            ("jwt", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"),
        ] {
            for text in [
                token.to_owned(),
                format!("key: {token}."),
                format!("\"{token}\""),
                format!("x={token}&y"),
                format!("{{\"t\":\"\\n{token}\\n\"}}"),
                format!("é{token}字"),
            ] {
                assert_eq!(found(&text), [(name, token)], "{text}");
            }
        }
    }

    #[test]
    fn others_are_found_beside_a_word_that_names_them() {
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let hex = "0123456789abcdef0123456789abcdef";
        let check = |text: String, token: &str| {
            let found = found(&text);
            assert!(found.iter().any(|(_, at)| *at == token), "{text}: {found:?}");
        };
        check(format!("aws_secret_access_key = {secret}"), secret);
        check(format!("export AWS_SECRET_ACCESS_KEY=\"{secret}\""), secret);
        check(format!("{{\"SecretAccessKey\": \"{secret}\"}}"), secret);
        check(format!("AKIAIOSFODNN7EXAMPLE:{secret}"), secret);
        check(format!("my AWS secret is {secret}"), secret);
        check(
            format!("AccountKey={}==;", "Ab1+".repeat(4) + &secret.repeat(2)[..70]),
            &("Ab1+".repeat(4) + &secret.repeat(2)[..70] + "=="),
        );
        check(format!("AZURE_OPENAI_KEY={hex}"), hex);
        check(format!("Ocp-Apim-Subscription-Key: {hex}"), hex);
        check(format!("MISTRAL_API_KEY={hex}"), hex);
        check(format!("Mistral key is \"{hex}\""), hex);
        check(format!("co_api_key: AbCdEfGh{hex}"), &format!("AbCdEfGh{hex}"));
        check(format!("the API key for Cohere is {hex}"), hex);
        check(format!("api_key='{hex}'"), hex);
        check(format!("{{\"apiKey\":\"{hex}\"}}"), hex);
        check(format!("Authorization: Bearer {hex}"), hex);
    }

    #[test]
    fn a_private_key_is_found_whole_in_lines_escaped_or_cut_short() {
        let body = "MIIEpAIBAAKCAQEA0123456789abcdefghijklmnopqrstuvwxyz+/ABCDEFGHIJ";
        let whole = format!("-----BEGIN RSA PRIVATE KEY-----\n{body}\n{body}==\n-----END RSA PRIVATE KEY-----");
        let dressed = format!(
            "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00FF\n\n{body}\n-----END RSA PRIVATE KEY-----"
        );
        let cut = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n{body}");
        for key in [whole.clone(), whole.replace('\n', "\\n"), whole.replace('\n', "\r\n"), dressed, cut] {
            assert_eq!(found(&format!("see {key}")), [("private_key", key.as_str())]);
        }
        assert_eq!(found(&format!("{whole}\ntext\n{whole}")).len(), 2);
        assert!(found("a file with -----BEGIN PRIVATE KEY----- is one, and so on").is_empty());
        assert!(found(&whole.replace("PRIVATE", "PUBLIC")).is_empty());
    }

    #[test]
    fn words_identifiers_and_shown_forms_are_left_alone() {
        for text in [
            "sk-learn-is-a-nice-library-for-everyone",
            "sk-learn-pipeline-v2-final-version-3",
            "sk-proj-management-is-what-we-all-do",
            "risk-abcdefghijklmnopqrstuvwxyz",
            "task-0123456789abcdefghijklmno",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-...",
            "AKIAXXXXXXXXXXXXXXXX",
            "AKIA",
            "ASIAPACIFICOPERATIONS",
            "ASIAPACIFICREGIONSBB",
            "ghp_token",
            "hf_hub_download_and_a_long_name_in_code",
            "api_key = os.environ[\"MISTRAL_API_KEY\"]",
            "api_key=your_api_key_here",
            "secret key",
            "550e8400-e29b-41d4-a716-446655440000",
            "d41d8cd98f00b204e9800998ecf8427e",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "eyJhbGciOiJIUzI1NiJ9",
            "Bearer of good news that travels",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
