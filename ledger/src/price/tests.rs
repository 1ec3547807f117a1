use proptest::prelude::*;

use super::*;

fn usd(text: &str) -> Money {
    text.parse().expect(text)
}

fn rates(input: &str, output: &str) -> Rates {
    Rates::new(usd(input), usd(output))
}

fn with(input: &str, output: &str, more: Classes) -> Rates {
    Rates { more, ..rates(input, output) }
}

fn cached(text: &str) -> Classes {
    Classes { cached_input: Some(usd(text)), ..Classes::default() }
}

/// Anthropic's list for Claude Sonnet 4.5: above 200,000 tokens of input, all of the call costs more.
fn sonnet() -> Rates {
    let classes = |read: &str, write: &str, hour: &str| Classes {
        cached_input: Some(usd(read)),
        cache_write: Some(usd(write)),
        cache_write_1h: Some(usd(hour)),
        ..Classes::default()
    };
    let search = Classes { search: Some(usd("0.01")), ..classes("0.30", "3.75", "6") };
    let long = LongContext {
        above: 200_000,
        input: Some(usd("6")),
        output: Some(usd("22.50")),
        more: classes("0.60", "7.50", "12"),
    };
    Rates { long_context: vec![long], batch: Some("0.5".parse().unwrap()), ..with("3", "15", search) }
}

#[test]
fn the_sum_of_a_charge_rounds_up_once() {
    for (rates, usage, nanos) in [
        (rates("0.15", "0"), Usage { input: 1, ..Usage::default() }, 150),
        (rates("0.0375", "0"), Usage { input: 3, ..Usage::default() }, 113), // 112.5
        (rates("0.0005", "0.0005"), Usage { input: 1, output: 1, ..Usage::default() }, 1), // 0.5 + 0.5
        (
            with("2.5", "10", cached("1.25")),
            Usage { input: 10, cached_input: 10, output: 10, ..Usage::default() },
            137_500,
        ),
        (rates("2.5", "10"), Usage { cached_input: 2, cache_write: 2, ..Usage::default() }, 10_000),
        (rates("0", "0"), Usage { input: 5, output: 5, ..Usage::default() }, 0),
    ] {
        assert_eq!(rates.exact(&usage).rounded_up(), Some(Money::from_nanos(nanos)), "{rates:?} {usage:?}");
    }
}

#[test]
fn a_call_costs_what_the_price_pages_of_providers_say() {
    let search = Classes { cached_input: Some(usd("0.125")), search: Some(usd("0.01")), ..Classes::default() };
    let audio = Classes { audio_input: Some(usd("40")), audio_output: Some(usd("80")), ..Classes::default() };
    let gemini = Rates {
        long_context: vec![LongContext {
            above: 200_000,
            input: Some(usd("2.50")),
            output: Some(usd("15")),
            more: cached("0.25"),
        }],
        ..with("1.25", "10", cached("0.125"))
    };
    let drawn = Classes { image: Some(usd("0.04")), image_output: Some(usd("60")), ..Classes::default() };
    let heard = Classes { second: Some(usd("0.0001")), characters: Some(usd("15")), ..Classes::default() };
    let sonar = Classes { request: Some(usd("0.008")), ..Classes::default() };
    let none = Usage::default();
    for (what, rates, usage, expected) in [
        ("a million of each", rates("2.50", "10.00"), Usage { input: 1_000_000, output: 1_000_000, ..none }, "12.5"),
        (
            "GPT-5: reasoning is output; a search costs a cent",
            with("1.25", "10.00", search),
            Usage { input: 1_000, cached_input: 9_000, output: 200, reasoning: 800, searches: 2, ..none },
            "0.032375",
        ),
        (
            "GPT-4o audio: what is heard and said has its own price",
            with("2.50", "10.00", audio),
            Usage { input: 100, audio_input: 1_000, output: 50, audio_output: 500, ..none },
            "0.08075",
        ),
        (
            "Claude: cache written for 5 minutes 1.25 times, for an hour twice, read a tenth",
            sonnet(),
            Usage {
                input: 1_000,
                cached_input: 1_000,
                cache_write: 1_000,
                cache_write_1h: 1_000,
                output: 1_000,
                ..none
            },
            "0.02805",
        ),
        ("Claude: 200,000 is not above", sonnet(), Usage { input: 200_000, output: 1_000, ..none }, "0.615"),
        ("Claude: one more, and all costs more", sonnet(), Usage { input: 200_001, output: 1_000, ..none }, "1.222506"),
        (
            "Claude: what is cached counts towards the threshold",
            sonnet(),
            Usage { input: 1_000, cached_input: 199_000, cache_write: 1, output: 1_000, ..none },
            "0.1479075",
        ),
        (
            "Claude: a batch costs half, its searches do not",
            sonnet(),
            Usage { input: 1_000_000, searches: 1, batch: true, ..none },
            "3.01",
        ),
        (
            "Gemini: long",
            gemini.clone(),
            Usage { input: 300_000, cached_input: 100_000, output: 1_000, ..none },
            "0.79",
        ),
        ("Gemini: short", gemini, Usage { input: 100_000, cached_input: 100_000, output: 1_000, ..none }, "0.1475"),
        (
            "Perplexity: a fee for each call",
            with("1", "1", sonar),
            Usage { input: 1_000, output: 1_000, ..none },
            "0.01",
        ),
        (
            "a drawing by its tokens",
            with("5", "40", drawn),
            Usage { input: 100, output: 0, image_output: 1_000, ..none },
            "0.0605",
        ),
        ("three images", with("0", "0", drawn), Usage { images: 3, ..none }, "0.12"),
        ("a minute of Whisper", with("0", "0", heard), Usage { seconds: 60, ..none }, "0.006"),
        ("a page read aloud", with("0", "0", heard), Usage { characters: 2_000, ..none }, "0.03"),
        ("a batch of three calls", with("1", "1", sonar), Usage { input: 1_000, requests: 3, ..none }, "0.025"),
    ] {
        assert_eq!(rates.exact(&usage).rounded_up().unwrap().to_string(), expected, "{what}");
    }
}

#[test]
fn a_class_without_a_price_costs_what_its_text_costs() {
    let plain = rates("3", "7");
    let hour = with("3", "7", Classes { cache_write: Some(usd("5")), ..Classes::default() });
    let none = Usage::default();
    for (rates, usage, per_million) in [
        (&plain, Usage { cached_input: 1_000_000, ..none }, "3"),
        (&plain, Usage { cache_write: 1_000_000, ..none }, "3"),
        (&plain, Usage { cache_write_1h: 1_000_000, ..none }, "3"),
        (&hour, Usage { cache_write_1h: 1_000_000, ..none }, "5"),
        (&plain, Usage { audio_input: 1_000_000, ..none }, "3"),
        (&plain, Usage { image_input: 1_000_000, ..none }, "3"),
        (&plain, Usage { reasoning: 1_000_000, ..none }, "7"),
        (&plain, Usage { audio_output: 1_000_000, ..none }, "7"),
        (&plain, Usage { image_output: 1_000_000, ..none }, "7"),
        (&plain, Usage { searches: 5, requests: 9, images: 2, seconds: 3, characters: 4, ..none }, "0"),
        (&plain, Usage { input: 1_000_000, batch: true, ..none }, "3"),
    ] {
        assert_eq!(rates.exact(&usage).rounded_up(), Some(usd(per_million)), "{usage:?}");
    }
}

#[test]
fn a_markup_is_applied_before_the_one_rounding() {
    let sum = rates("0.0005", "0").exact(&Usage { input: 1, ..Usage::default() }); // half a nano-dollar
    assert_eq!(sum.with_markup("2".parse().unwrap()).rounded_up(), Some(Money::from_nanos(1)));
    assert_eq!(sum.with_markup(Markup::NONE), sum);
    for wrong in ["0.9", "-1", "1.0000001", "", "x", "1001"] {
        assert_eq!(wrong.parse::<Markup>(), Err(MarkupError), "{wrong}");
    }
    assert_eq!("1.25".parse::<Markup>().unwrap().to_string(), "1.25");
    for wrong in ["1.000001", "-0.5", "half", "0.0000001"] {
        assert!(wrong.parse::<Discount>().is_err(), "{wrong}");
    }
}

#[test]
fn what_is_too_large_to_tell_is_no_money() {
    let dear = Rates::new(Money::MAX, Money::MAX);
    let sum =
        dear.worst(u64::MAX, u64::MAX, &Pieces::default()).plus(dear.worst(u64::MAX, u64::MAX, &Pieces::default()));
    assert_eq!(sum.rounded_up(), None);
    assert_eq!(sum.with_markup("1000".parse().unwrap()).rounded_up(), None);
    assert_eq!(rates("-1", "0").worst(1, 0, &Pieces::default()).rounded_up(), None, "a negative rate");
    let fees = with("0", "0", Classes { search: Some(Money::MAX), ..Classes::default() });
    assert_eq!(fees.exact(&Usage { searches: u64::MAX, ..Usage::default() }).rounded_up(), None);
}

#[test]
fn prices_that_cannot_be_are_told_with_their_place() {
    let tier =
        |above, input: &str| LongContext { above, input: Some(usd(input)), output: None, more: Classes::default() };
    let tiers = |tiers: Vec<LongContext>| Rates { long_context: tiers, ..rates("1", "1") };
    for (rates, member) in [
        (rates("0", "0"), None),
        (sonnet(), None),
        (rates("-0.000000001", "0"), Some("input")),
        (rates("0", "-1"), Some("output")),
        (with("1", "1", cached("-1")), Some("cached_input")),
        (tiers(vec![tier(10, "1"), tier(20, "2")]), None),
        (tiers(vec![tier(0, "1")]), Some("long_context[0].above")),
        (tiers(vec![tier(10, "1"), tier(10, "2")]), Some("long_context[1].above")),
        (tiers(vec![tier(10, "-1")]), Some("long_context[0].input")),
        (tiers((1..=5).map(|n| tier(n, "1")).collect()), Some("long_context")),
    ] {
        assert_eq!(rates.check().err().map(|it| it.member).as_deref(), member, "{rates:?}");
    }
}

#[test]
fn prices_read_back_as_they_were_written_and_say_only_what_they_have() {
    assert_eq!(serde_json::to_string(&rates("2.5", "10")).unwrap(), r#"{"input":"2.5","output":"10"}"#);
    let json = serde_json::to_string(&sonnet()).unwrap();
    assert_eq!(serde_json::from_str::<Rates>(&json).unwrap(), sonnet(), "{json}");
    let old: Usage = serde_json::from_str(r#"{"input":3,"cache_write":2,"output":1}"#).unwrap();
    assert_eq!((old.all_input(), old.all_output(), old.estimated), (5, 1, false), "a record of an earlier version");
}

prop_compose! {
    fn any_money()(nanos in 0..100_000_000_000i64) -> Money {
        Money::from_nanos(nanos)
    }
}

prop_compose! {
    fn any_classes()(price in prop::array::uniform12(prop::option::of(any_money()))) -> Classes {
        let [cached_input, cache_write, cache_write_1h, audio_input, image_input, reasoning, audio_output, image_output, request,
            image, second, characters] = price;
        Classes {
            cached_input, cache_write, cache_write_1h, audio_input, image_input, reasoning, audio_output, image_output,
            request, search: None, image, second, characters,
        }
    }
}

prop_compose! {
    fn any_rates()(
        base in (any_money(), any_money(), any_classes()),
        tiers in prop::collection::btree_map(
            1..300_000u64,
            (prop::option::of(any_money()), prop::option::of(any_money()), any_classes()),
            0..3,
        ),
        discount in prop::option::of(0..=1_000_000u64),
    ) -> Rates {
        let (input, output, more) = base;
        let long_context =
            tiers.into_iter().map(|(above, (input, output, more))| LongContext { above, input, output, more }).collect();
        Rates { more, long_context, batch: discount.map(Discount), ..Rates::new(input, output) }
    }
}

proptest! {
    #[test]
    fn no_split_of_the_tokens_into_classes_costs_more_than_the_worst_case(
        rates in any_rates(),
        inputs in prop::array::uniform6(0..100_000u64),
        outputs in prop::array::uniform4(0..100_000u64),
        pieces in prop::array::uniform3(0..1_000u64),
        slack in (0..1_000u64, 0..1_000u64),
        batch in any::<bool>(),
    ) {
        let [input, cached_input, cache_write, cache_write_1h, audio_input, image_input] = inputs;
        let [output, reasoning, audio_output, image_output] = outputs;
        let [images, seconds, characters] = pieces;
        let usage = Usage {
            input, cached_input, cache_write, cache_write_1h, audio_input, image_input, output, reasoning, audio_output,
            image_output, images, seconds, characters, batch, requests: 1, ..Usage::default()
        };
        let most = Pieces { images, seconds, characters, searches: 0 };
        let more = Pieces { seconds: seconds + 1, ..most };
        prop_assert_eq!(rates.check(), Ok(()));
        let worst = rates.worst(usage.all_input() + slack.0, usage.all_output() + slack.1, &most);
        prop_assert!(rates.exact(&usage) <= worst);
        let batch = Usage { batch: true, ..usage };
        let worst_in_batch = rates.worst_in_batch(usage.all_input() + slack.0, usage.all_output() + slack.1, &most);
        prop_assert!(rates.exact(&batch) <= worst_in_batch && worst_in_batch <= worst);
        prop_assert!(worst <= rates.worst(usage.all_input() + slack.0 + 1, usage.all_output() + slack.1 + 1, &more));
        let plain = Exact::of(usage.all_input(), rates.dearest_input())
            .plus(Exact::of(usage.all_output(), rates.dearest_output()));
        let fees = rates.exact(&Usage { requests: 1, images, seconds, characters, ..Usage::default() });
        prop_assert!(!rates.long_context.is_empty() || rates.exact(&usage) <= plain.plus(fees));
    }
}

#[test]
fn a_list_of_prices_is_shown_as_the_tenant_pays_it() {
    let usd = |text: &str| text.parse::<Money>().unwrap();
    let rates = Rates {
        more: Classes { cached_input: Some(usd("0.25")), ..Classes::default() },
        long_context: vec![LongContext { above: 10, input: Some(usd("5")), output: None, more: Classes::default() }],
        ..Rates::new(usd("2.50"), usd("0.000000001"))
    };
    let shown = rates.with_markup("1.2".parse().unwrap());
    assert_eq!((shown.input, shown.more.cached_input), (usd("3"), Some(usd("0.3"))));
    assert_eq!(shown.output, usd("0.000000002"), "a part of a nano-dollar counts as one");
    assert_eq!((shown.long_context[0].input, shown.long_context[0].output), (Some(usd("6")), None));
    assert_eq!(rates.with_markup(Markup::NONE), rates);
}
