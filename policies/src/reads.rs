//! Which facts the rules in force may read. A decision is a function of the revision and of these alone: whatever would make it
//! depend on more (a clock, chance, the network) is refused before a module loads. So calls that differ only in facts that
//! no rule reads get the same decision.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::{AttributeFacts, BudgetFacts, CallerFacts, Candidate, Facts, RequestFacts, TimeFacts};

/// What a decision is known by: the facts that it may depend on, hashed, so that none of them is kept.
pub(crate) type Fingerprint = [u8; 32];

/// The facts that differ from call to call, and whether any rule may read them. All others count always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    user: bool,
    key: bool,
    wallet: bool,
    max_output_tokens: bool,
    input_tokens: bool,
    claims: bool,
    findings: bool,
    unix_seconds: bool,
    weekday: bool,
    hour: bool,
    intent: bool,
    intent_confidence: bool,
    tier: bool,
    left_usd: bool,
    left_percent: bool,
}

impl Reads {
    /// Of rules that refer to these paths below `input`, as far as they are fixed: all that lies below one may be read.
    pub fn of(paths: &BTreeSet<Vec<String>>) -> Reads {
        let read = |fact: [&str; 2]| paths.iter().any(|path| path.iter().zip(fact).all(|(step, name)| step == name));
        Reads {
            user: read(["caller", "user"]),
            key: read(["caller", "key"]),
            wallet: read(["caller", "wallet"]),
            max_output_tokens: read(["request", "max_output_tokens"]),
            input_tokens: read(["request", "input_tokens"]),
            claims: read(["request", "claims"]),
            findings: paths.iter().any(|path| path.first().is_none_or(|step| step == "findings")),
            unix_seconds: read(["time", "unix_seconds"]),
            weekday: read(["time", "weekday"]),
            hour: read(["time", "hour"]),
            intent: read(["request", "intent"]),
            intent_confidence: read(["request", "intent_confidence"]),
            tier: read(["request", "tier"]),
            left_usd: read(["budget", "left_usd"]),
            left_percent: read(["budget", "left_percent"]),
        }
    }

    /// What either of two sets of rules may read.
    pub fn or(self, other: Reads) -> Reads {
        Reads {
            user: self.user || other.user,
            key: self.key || other.key,
            wallet: self.wallet || other.wallet,
            max_output_tokens: self.max_output_tokens || other.max_output_tokens,
            input_tokens: self.input_tokens || other.input_tokens,
            claims: self.claims || other.claims,
            findings: self.findings || other.findings,
            unix_seconds: self.unix_seconds || other.unix_seconds,
            weekday: self.weekday || other.weekday,
            hour: self.hour || other.hour,
            intent: self.intent || other.intent,
            intent_confidence: self.intent_confidence || other.intent_confidence,
            tier: self.tier || other.tier,
            left_usd: self.left_usd || other.left_usd,
            left_percent: self.left_percent || other.left_percent,
        }
    }

    /// Whether any rule asks what kind of work a call seems to be.
    pub fn seems(&self) -> bool {
        self.intent || self.intent_confidence || self.tier
    }

    /// Whether any rule asks what the caller's wallets have left.
    pub fn headroom(&self) -> bool {
        self.left_usd || self.left_percent
    }

    /// Equal for two calls only if every fact that counts is.
    pub fn fingerprint(&self, facts: &Facts) -> Fingerprint {
        let Facts { caller, request, candidates, findings, time, budget, hops } = facts;
        let CallerFacts { org, team, user, key, wallet, models, tags, groups, attributes } = caller;
        let AttributeFacts { org: of_org, team: of_team, user: of_user } = attributes;
        let RequestFacts { kind, model, stream, max_output_tokens, input_tokens, tools, images, claims, .. } = request;
        let RequestFacts { tool_names, mcp_servers, intent, intent_confidence, tier, .. } = request;
        let TimeFacts { unix_seconds, weekday, hour } = time;
        let BudgetFacts { downgrade, left_usd, left_percent } = budget;
        let mut print = Print(Vec::with_capacity(512));
        print.text(org);
        print.option(team.as_deref());
        print.option(user.as_deref().filter(|_| self.user));
        print.option(Some(key.as_str()).filter(|_| self.key));
        print.option(wallet.as_deref().filter(|_| self.wallet));
        print.flag(models.is_some());
        print.list(models.as_deref().unwrap_or_default(), |print, model| print.text(model));
        for map in [tags, of_org, of_team, of_user, hops] {
            print.map(map, |print, value| print.text(value));
        }
        for list in [groups, tool_names, mcp_servers] {
            print.list(list, |print, it| print.text(it));
        }
        print.text(kind);
        print.text(model);
        [stream, tools, images, downgrade].into_iter().for_each(|fact| print.flag(*fact));
        let cap = max_output_tokens.filter(|_| self.max_output_tokens);
        print.flag(cap.is_some());
        print.number(cap.unwrap_or(0));
        print.number(if self.input_tokens { *input_tokens } else { 0 });
        if self.claims {
            print.map(claims, |print, value| print.text(value));
        }
        print.list(candidates, candidate);
        // An unknown kind is a fault, read or not.
        print.map(findings, |print, count| print.number(if self.findings { *count } else { 0 }));
        print.number(if self.unix_seconds { unix_seconds.cast_unsigned() } else { 0 });
        print.text(if self.weekday { weekday } else { "" });
        print.number(if self.hour { u64::from(*hour) } else { 0 });
        print.text(if self.intent { intent } else { "" });
        print.number(if self.intent_confidence { u64::from(*intent_confidence) } else { 0 });
        print.number(if self.tier { u64::from(*tier) } else { 0 });
        print.option(left_usd.as_deref().filter(|_| self.left_usd));
        print.number(left_percent.filter(|_| self.left_percent).map_or(0, |percent| u64::from(percent) + 1));
        Sha256::digest(&print.0).into()
    }
}

fn candidate(print: &mut Print, facts: &Candidate) {
    let Candidate { target, name, provider, model, region, alias, price_input, price_output, context_tokens, healthy } =
        facts;
    [target, name, provider, model, region].into_iter().for_each(|fact| print.text(fact));
    print.flag(*alias);
    print.flag(*healthy);
    print.option(price_input.as_deref());
    print.option(price_output.as_deref());
    print.flag(context_tokens.is_some());
    print.number(context_tokens.unwrap_or(0));
}

/// Every piece says how long it is, so that no two sequences look alike.
struct Print(Vec<u8>);

impl Print {
    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn option(&mut self, text: Option<&str>) {
        self.flag(text.is_some());
        self.text(text.unwrap_or_default());
    }

    fn list<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Print, &T)) {
        self.number(items.len() as u64);
        items.iter().for_each(|it| item(self, it));
    }

    fn map<T>(&mut self, members: &std::collections::BTreeMap<String, T>, mut value: impl FnMut(&mut Print, &T)) {
        self.number(members.len() as u64);
        for (name, it) in members {
            self.text(name);
            value(self, it);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Limits, PolicySet, Source, engine, shipped};

    /// One fact changed, and its name.
    type Change = (&'static str, fn(&mut Facts));

    const CHANGES: [Change; 15] = [
        ("user", |it| it.caller.user = None),
        ("key", |it| it.caller.key = "key_1".into()),
        ("wallet", |it| it.caller.wallet = Some("wal_1".into())),
        ("max_output_tokens", |it| it.request.max_output_tokens = Some(7)),
        ("input_tokens", |it| it.request.input_tokens += 1),
        ("claims", |it| it.request.claims.clear()),
        ("findings", |it| it.findings.extend([("email".into(), 9)])),
        ("unix_seconds", |it| it.time.unix_seconds += 1),
        ("weekday", |it| it.time.weekday = "monday".into()),
        ("hour", |it| it.time.hour += 1),
        ("intent", |it| it.request.intent = "code".into()),
        ("intent_confidence", |it| it.request.intent_confidence += 1),
        ("tier", |it| it.request.tier += 1),
        ("left_usd", |it| it.budget.left_usd = Some("7".into())),
        ("left_percent", |it| it.budget.left_percent = None),
    ];

    fn compiled(rule: &str) -> PolicySet {
        let text = format!("package alfred.rules.house\n\nimport rego.v1\n{rule}\n");
        let sources: Vec<Source> = shipped().into_iter().chain([Source::new("house.rego", text)]).collect();
        PolicySet::compile(&sources, serde_json::json!({}), Limits::default()).unwrap()
    }

    /// The facts that make a difference to what a decision is known by.
    fn check(rule: &str, counted: &[&str]) {
        let set = compiled(rule);
        let before = set.reads().fingerprint(&engine::sample());
        let differs = |change: fn(&mut Facts)| {
            let mut facts = engine::sample();
            change(&mut facts);
            set.reads().fingerprint(&facts) != before
        };
        let got: Vec<&str> = CHANGES.iter().filter(|(_, change)| differs(*change)).map(|(name, _)| *name).collect();
        assert_eq!(got, counted, "{rule}");
    }

    #[test]
    fn only_facts_that_some_rule_may_read_tell_decisions_apart() {
        let deny = |body: &str| {
            format!("deny contains {{\"code\": \"policy_denied\", \"message\": \"no\"}} if {{\n\t{body}\n}}")
        };
        let all = CHANGES.map(|(name, _)| name);
        check("", &[]);
        for (body, counted) in [
            (r#"input.request.model == "x""#, &[][..]),
            (r#"input.request.input_tokens > 5"#, &["input_tokens"]),
            (r#"input["time"].hour > 5"#, &["hour"]),
            (r#"input.time.weekday in {"sunday"}"#, &["weekday"]),
            ("some kind, n in input.findings\n\tn > 3\n\tkind == \"email\"", &["findings"]),
            (r#"object.get(input.caller, "user", "") == "x""#, &["user"]),
            (
                r#"object.get(input.request, ["claims", "user"], "") == "x""#,
                &["max_output_tokens", "input_tokens", "claims", "intent", "intent_confidence", "tier"],
            ),
            ("name := \"user\"\n\tinput.caller[name] == \"x\"", &["user", "key", "wallet"]),
            ("part := \"caller\"\n\tinput[part].key == \"x\"", &all),
            ("whole := input\n\twhole.caller.key == \"x\"", &all),
            ("late(input.time)\n}\n\nlate(x) if {\n\tx.hour > 5", &["unix_seconds", "weekday", "hour"]),
            ("f(3) > 5\n}\n\nf(x) := y if {\n\ty := x + input.time.hour", &["hour"]),
            (
                "free\n}\n\ndefault free := false\n\nfree if {\n\tevery c in input.candidates { c.region == input.request.claims.at }",
                &["claims"],
            ),
            ("count({x | some x in input.request.claims}) > 1", &["claims"]),
        ] {
            check(&deny(body), counted);
        }
        check(&format!("import input.caller as who\n\n{}", deny("who.key == \"x\"")), &["key"]);
    }

    /// What is remembered is what would be decided anew, for rules that read what differs from call to call.
    #[test]
    fn a_remembered_decision_is_the_one_that_would_be_made() {
        let set = compiled(
            r#"
deny contains {"code": "policy_denied", "message": said} if {
	input.request.input_tokens > 2
	input.time.hour > 1
	said := sprintf("%d at %d", [input.request.input_tokens, input.time.hour])
}

max_output_tokens contains cap if {
	cap := object.get(input.request, "max_output_tokens", 9)
}

tags contains {"who": who} if {
	input.request.stream
	who := object.get(input.caller, "user", "nobody")
}"#,
        );
        let book = crate::Rulebook::new(std::sync::Arc::new(set));
        let mut seed = 7_u64;
        let mut next = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let (mut denied, mut allowed) = (0, 0);
        for _ in 0..2_000 {
            let mut facts = engine::sample();
            CHANGES.iter().for_each(|(_, change)| {
                if next(4) == 0 {
                    change(&mut facts)
                }
            });
            facts.request.input_tokens = next(5);
            facts.request.stream = next(2) == 0;
            facts.time.hour = next(4) as u8;
            facts.candidates[0].region = ["sim", "eu"][next(2) as usize].into();
            let decision = book.decide(&facts).decision;
            assert_eq!(Ok(&decision), book.judge(&facts).as_ref(), "{facts:?}");
            *(if matches!(decision, crate::Decision::Deny(_)) { &mut denied } else { &mut allowed }) += 1;
        }
        assert!(denied > 100 && allowed > 100, "{denied} denied, {allowed} allowed");
    }
}
