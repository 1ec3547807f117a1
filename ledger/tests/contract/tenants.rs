//! Tenants: what is made, changed, repeated and refused, the same on both databases.

use std::time::Duration;

use ledger::{
    Actor, Attributes, Id, KeyChange, KeyRow, Ledger, LimitChange, Limits, NewKey, NewOperator, NewOrg, NewTeam,
    NewUser, NewWallet, OperatorCredential, Order, Org, Page, PresentedKey, Priority, ReserveError, Reserved, Role,
    Rotation, ShownKey, Team, TeamChange, TenantError, Wallet, WalletChange, WalletKind, WalletRow, WalletStatus,
};

use crate::postgres::through_a_network;
use crate::world::{On, World, on_both_databases, options, usd};

on_both_databases!(
    the_same_id_and_content_again_is_answered_the_same_and_changes_nothing,
    every_write_raises_the_revision_and_leaves_its_entry,
    what_belongs_to_another_organisation_cannot_be_named,
    a_chain_reaches_from_a_wallet_to_its_root,
    a_changed_limit_counts_for_the_next_call,
    credentials_hold_what_lives_and_nothing_else,
    one_bootstrap_operator_lives_at_a_time,
    many_at_once_make_one_thing_and_keep_one_order,
    lists_go_on_where_the_page_before_ended,
    a_claim_is_remembered_for_a_day,
    limits_of_keys_and_teams_are_known_to_whoever_verifies_callers,
    a_database_that_says_nothing_is_not_waited_for,
);

const BY: &Actor = &Actor::System;

async fn org(ledger: &Ledger) -> Id<Org> {
    let new = NewOrg { id: ledger.new_id(), name: "Acme".into(), attributes: Attributes::new() };
    ledger.tenants().create_org(new, BY).await.unwrap().id
}

async fn team(ledger: &Ledger, org: Id<Org>) -> Id<Team> {
    let new = NewTeam {
        id: ledger.new_id(),
        org,
        name: "Search".into(),
        limits: Limits::default(),
        attributes: Attributes::new(),
    };
    ledger.tenants().create_team(new, BY).await.unwrap().id
}

fn new_wallet(ledger: &Ledger, org: Id<Org>) -> NewWallet {
    NewWallet::new(ledger.new_id(), org, "Purse", WalletKind::Project)
}

async fn wallet(ledger: &Ledger, new: NewWallet) -> WalletRow {
    ledger.tenants().create_wallet(new, BY).await.unwrap()
}

fn new_key(ledger: &Ledger, wallet: Id<Wallet>) -> NewKey {
    NewKey::new(ledger.new_id(), "app", wallet)
}

async fn key(ledger: &Ledger, wallet: Id<Wallet>) -> (KeyRow, ShownKey) {
    ledger.tenants().create_key(new_key(ledger, wallet), BY).await.unwrap()
}

async fn revision(ledger: &Ledger) -> i64 {
    ledger.tenants().credentials().await.unwrap().revision
}

async fn opens(ledger: &Ledger, shown: &ShownKey) -> bool {
    let presented = PresentedKey::parse(shown.expose()).unwrap();
    let set = ledger.tenants().credentials().await.unwrap();
    set.keys.iter().any(|it| it.admits(&presented, ledger.clock().now()))
}

async fn entries(ledger: &Ledger, org: Option<Id<Org>>) -> Vec<(String, String)> {
    let mut export = ledger.trail().export(org).await.unwrap();
    let mut entries = Vec::new();
    while let Some(lines) = export.next().await.unwrap() {
        for line in lines {
            let json: serde_json::Value = serde_json::from_str(&line).unwrap();
            entries.push((json["kind"].as_str().unwrap().to_owned(), line));
        }
    }
    entries
}

async fn kinds(ledger: &Ledger, org: Option<Id<Org>>) -> Vec<String> {
    entries(ledger, org).await.into_iter().map(|(kind, _)| kind).collect()
}

#[track_caller]
fn names<T: std::fmt::Debug>(result: Result<T, TenantError>, wanted: &str) {
    match result {
        Err(TenantError::Invalid { field, .. }) => assert_eq!(field, wanted),
        other => panic!("{wanted} is at fault, but: {other:?}"),
    }
}

#[track_caller]
fn conflicts<T: std::fmt::Debug>(result: Result<T, TenantError>) {
    assert!(matches!(result, Err(TenantError::Conflict(_))), "{result:?}");
}

async fn the_same_id_and_content_again_is_answered_the_same_and_changes_nothing(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let new_org = NewOrg { id: ledger.new_id(), name: "Acme".into(), attributes: Attributes::new() };
    let org = tenants.create_org(new_org.clone(), BY).await.unwrap();
    let new_team = NewTeam {
        id: ledger.new_id(),
        org: org.id,
        name: "Search".into(),
        limits: Limits::default(),
        attributes: Attributes::new(),
    };
    let team = tenants.create_team(new_team.clone(), BY).await.unwrap();
    let other_team = self::team(&ledger, org.id).await;
    let new_user = NewUser {
        id: ledger.new_id(),
        org: org.id,
        name: "Ada".into(),
        email: Some("ada@example.com".into()),
        teams: vec![team.id, other_team],
        groups: vec![],
        attributes: Attributes::new(),
    };
    let user = tenants.create_user(new_user.clone(), BY).await.unwrap();
    let purse = NewWallet { hard_limit: Some(usd("10")), ..new_wallet(&ledger, org.id) };
    let made = wallet(&ledger, purse.clone()).await;
    let new_key = new_key(&ledger, made.id);
    let (key, _) = tenants.create_key(new_key.clone(), BY).await.unwrap();

    ledger.clock().advance(Duration::from_secs(60));
    let before = (revision(&ledger).await, kinds(&ledger, Some(org.id)).await);
    assert_eq!(tenants.create_org(new_org.clone(), BY).await.unwrap(), org);
    assert_eq!(tenants.create_team(new_team.clone(), BY).await.unwrap(), team);
    let turned = NewUser { teams: vec![other_team, team.id], ..new_user.clone() };
    assert_eq!(tenants.create_user(turned, BY).await.unwrap(), user);
    assert_eq!(tenants.create_wallet(purse.clone(), BY).await.unwrap(), made);
    let again = tenants.create_key(new_key.clone(), BY).await;
    assert!(matches!(again, Err(TenantError::AlreadyShown(ref id)) if *id == key.id.to_string()), "{again:?}");

    conflicts(tenants.create_org(NewOrg { name: "Other".into(), ..new_org }, BY).await);
    conflicts(tenants.create_team(NewTeam { name: "Other".into(), ..new_team }, BY).await);
    conflicts(tenants.create_user(NewUser { email: None, ..new_user }, BY).await);
    conflicts(tenants.create_wallet(NewWallet { soft_limit: Some(usd("1")), ..purse.clone() }, BY).await);
    conflicts(tenants.create_wallet(NewWallet { hard_limit: None, ..purse }, BY).await);
    conflicts(tenants.create_key(NewKey { rpm: Some(1), ..new_key }, BY).await);
    assert_eq!((revision(&ledger).await, kinds(&ledger, Some(org.id)).await), before);

    assert_eq!(tenants.org(org.id).await.unwrap(), org);
    assert_eq!(tenants.team(team.id).await.unwrap(), team);
    assert_eq!(tenants.user(user.id).await.unwrap(), user);
    assert_eq!(tenants.wallet(made.id).await.unwrap(), made);
    assert_eq!(tenants.key(key.id).await.unwrap(), key);
}

async fn every_write_raises_the_revision_and_leaves_its_entry(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let mut seen = ledger.revision();
    let start = revision(&ledger).await;
    let org = org(&ledger).await;
    let team = team(&ledger, org).await;
    let user = NewUser {
        id: ledger.new_id(),
        org,
        name: "Ada".into(),
        email: None,
        teams: vec![team],
        groups: vec![],
        attributes: Attributes::new(),
    };
    tenants.create_user(user, BY).await.unwrap();
    let purse = wallet(&ledger, new_wallet(&ledger, org)).await;
    let change = WalletChange { status: Some(WalletStatus::Suspended), ..WalletChange::default() };
    tenants.change_wallet(purse.id, change.clone(), BY).await.unwrap();
    tenants.change_wallet(purse.id, change, BY).await.unwrap(); // nothing changes
    let (key, _) = key(&ledger, purse.id).await;
    let rotation = Rotation { key: key.id, id: "once".into(), overlap: Duration::ZERO };
    tenants.rotate_key(rotation, BY).await.unwrap();
    tenants.revoke_key(key.id, BY).await.unwrap();
    tenants.revoke_key(key.id, BY).await.unwrap(); // nothing changes
    let expected = [
        "ORG_CREATED",
        "TEAM_CREATED",
        "USER_CREATED",
        "WALLET_CREATED",
        "WALLET_CHANGED",
        "KEY_CREATED",
        "KEY_ROTATED",
        "KEY_REVOKED",
    ];
    assert_eq!(kinds(&ledger, Some(org)).await, expected);
    assert_eq!(revision(&ledger).await, start + 8);
    assert_eq!(seen.borrow_and_update().revision, start + 8, "known here at once");
}

async fn what_belongs_to_another_organisation_cannot_be_named(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let (ours, theirs) = (org(&ledger).await, org(&ledger).await);
    let their_team = team(&ledger, theirs).await;
    let their_user = NewUser {
        id: ledger.new_id(),
        org: theirs,
        name: "Eve".into(),
        email: None,
        teams: vec![],
        groups: vec![],
        attributes: Attributes::new(),
    };
    let their_user = tenants.create_user(their_user, BY).await.unwrap().id;
    let their_wallet = wallet(&ledger, new_wallet(&ledger, theirs)).await.id;
    let wallet = wallet(&ledger, new_wallet(&ledger, ours)).await.id;
    let purse = || new_wallet(&ledger, ours);
    names(tenants.create_wallet(NewWallet { parent: Some(their_wallet), ..purse() }, BY).await, "parent");
    names(tenants.create_wallet(NewWallet { parent: Some(ledger.new_id()), ..purse() }, BY).await, "parent");
    names(tenants.create_wallet(NewWallet { team: Some(their_team), ..purse() }, BY).await, "team");
    names(tenants.create_wallet(NewWallet { user: Some(their_user), ..purse() }, BY).await, "user");
    names(tenants.create_wallet(NewWallet { org: ledger.new_id(), ..purse() }, BY).await, "org");
    let app = || new_key(&ledger, wallet);
    names(tenants.create_key(NewKey { team: Some(their_team), ..app() }, BY).await, "team");
    names(tenants.create_key(NewKey { user: Some(their_user), ..app() }, BY).await, "user");
    names(tenants.create_key(NewKey { wallet: ledger.new_id(), ..app() }, BY).await, "wallet");
    let user = NewUser {
        id: ledger.new_id(),
        org: ours,
        name: "Ada".into(),
        email: None,
        teams: vec![their_team],
        groups: vec![],
        attributes: Attributes::new(),
    };
    names(tenants.create_user(user, BY).await, "teams");
    assert_eq!(kinds(&ledger, Some(ours)).await, ["ORG_CREATED", "WALLET_CREATED"], "what was refused left nothing");
}

async fn a_chain_reaches_from_a_wallet_to_its_root(World { ledger, .. }: World) {
    let org = org(&ledger).await;
    let child = |parent| NewWallet { parent, ..new_wallet(&ledger, org) };
    let root = wallet(&ledger, NewWallet { kind: WalletKind::Org, hard_limit: Some(usd("1")), ..child(None) }).await.id;
    let middle = wallet(&ledger, child(Some(root))).await.id;
    let leaf = wallet(&ledger, child(Some(middle))).await.id;
    let aside = wallet(&ledger, child(Some(root))).await.id;
    let (key, _) = key(&ledger, leaf).await;
    let order = |amount| Order {
        call: ledger.new_id(),
        org,
        key: key.id,
        wallet: leaf,
        amount,
        estimate: None,
        patient: false,
        downgraded: false,
        extra: Vec::new(),
        expires_at: ledger.clock().now().after(Duration::from_secs(60)),
        claim: None,
        record: ledger::CallRecord::default(),
    };
    let Reserved::New(_hold) = ledger.reserve(order(usd("0.75"))).await.unwrap() else { panic!("nothing to replay") };
    let standings = ledger.standings(&[root, middle, leaf, aside]).await.unwrap();
    for (id, held) in [(root, "0.75"), (middle, "0.75"), (leaf, "0.75"), (aside, "0")] {
        assert_eq!(standings[&id].held, usd(held), "{id}");
    }
    let refused = ledger.reserve(order(usd("0.5"))).await;
    assert!(matches!(&refused, Err(ReserveError::OverLimit(over)) if over.wallet == root), "{refused:?}");
}

async fn a_changed_limit_counts_for_the_next_call(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let org = org(&ledger).await;
    let purse = wallet(&ledger, NewWallet { hard_limit: Some(usd("1")), ..new_wallet(&ledger, org) }).await.id;
    let (key, _) = key(&ledger, purse).await;
    let ask = async |amount: &str| {
        let order = Order {
            call: ledger.new_id(),
            org,
            key: key.id,
            wallet: purse,
            amount: usd(amount),
            estimate: None,
            patient: false,
            downgraded: false,
            extra: Vec::new(),
            expires_at: ledger.clock().now().after(Duration::from_secs(60)),
            claim: None,
            record: ledger::CallRecord::default(),
        };
        ledger.reserve(order).await.map(|reserved| {
            let Reserved::New(hold) = reserved else { panic!("nothing to replay") };
            std::mem::forget(hold); // still running when the ledger closes
        })
    };
    let limit = |limit| WalletChange { hard_limit: Some(limit), ..WalletChange::default() };
    let status = |status| WalletChange { status: Some(status), ..WalletChange::default() };
    assert!(ask("2").await.is_err());
    for (change, fits) in [
        (limit(Some(usd("3"))), true),
        (limit(Some(usd("0.5"))), false),
        (limit(None), true),
        (status(WalletStatus::Suspended), false),
        (status(WalletStatus::Active), true),
    ] {
        tenants.change_wallet(purse, change.clone(), BY).await.unwrap();
        assert_eq!(ask("2").await.is_ok(), fits, "{change:?}");
    }
    let changes: Vec<_> =
        entries(&ledger, Some(org)).await.into_iter().filter(|(kind, _)| kind == "WALLET_CHANGED").collect();
    assert!(changes[0].1.contains(r#""from":{"hard_limit_usd":"1","#), "{}", changes[0].1);
    assert!(changes[0].1.contains(r#""to":{"hard_limit_usd":"3","#), "{}", changes[0].1);
    assert!(changes[2].1.contains(r#""to":{"hard_limit_usd":null,"#), "{}", changes[2].1);
}

async fn credentials_hold_what_lives_and_nothing_else(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let org = org(&ledger).await;
    let team = team(&ledger, org).await;
    let above = wallet(&ledger, NewWallet { team: Some(team), ..new_wallet(&ledger, org) }).await.id;
    let purse = wallet(&ledger, NewWallet { parent: Some(above), ..new_wallet(&ledger, org) }).await.id;
    let hour = ledger.clock().now().after(Duration::from_secs(3600));
    let short = NewKey {
        models: Some(vec!["gpt-4o".into()]),
        expires_at: Some(hour),
        rpm: Some(60),
        tpm: Some(1_000_000_000),
        ..new_key(&ledger, purse)
    };
    let (short, short_secret) = tenants.create_key(short, BY).await.unwrap();
    let (rotated, first) = key(&ledger, purse).await;
    let rotation =
        |id: &str, overlap| Rotation { key: rotated.id, id: id.into(), overlap: Duration::from_secs(overlap) };
    let (row, second) = tenants.rotate_key(rotation("r1", 60), BY).await.unwrap();
    assert_eq!(row.overlap_until, Some(ledger.clock().now().after(Duration::from_secs(60))));
    let (revoked, revoked_secret) = key(&ledger, purse).await;
    assert!(opens(&ledger, &revoked_secret).await);
    tenants.revoke_key(revoked.id, BY).await.unwrap();

    let set = tenants.credentials().await.unwrap();
    let mut ids: Vec<_> = set.keys.iter().map(|it| it.key).collect();
    ids.sort_unstable();
    let mut expected = [short.id, rotated.id];
    expected.sort_unstable();
    assert_eq!(ids, expected);
    let credential = set.keys.iter().find(|it| it.key == short.id).unwrap();
    assert_eq!((credential.org, credential.wallet, credential.team), (org, purse, Some(team)));
    assert_eq!((credential.rpm, credential.tpm, credential.expires_at), (Some(60), Some(1_000_000_000), Some(hour)));
    assert_eq!(credential.models.as_deref(), Some(["gpt-4o".to_owned()].as_slice()));
    for (secret, good) in [(&short_secret, true), (&first, true), (&second, true), (&revoked_secret, false)] {
        assert_eq!(opens(&ledger, secret).await, good);
    }
    ledger.clock().advance(Duration::from_secs(60));
    assert!(!opens(&ledger, &first).await, "the overlap has ended");
    let again = tenants.rotate_key(rotation("r1", 60), BY).await;
    assert!(matches!(again, Err(TenantError::AlreadyShown(_))), "{again:?}");
    conflicts(tenants.rotate_key(rotation("r1", 61), BY).await);
    let (_, third) = tenants.rotate_key(rotation("r2", 0), BY).await.unwrap();
    assert!(!opens(&ledger, &second).await && opens(&ledger, &third).await, "no overlap was asked for");
    ledger.clock().advance(Duration::from_secs(3540));
    assert!(!opens(&ledger, &short_secret).await);
    assert_eq!(tenants.credentials().await.unwrap().keys.len(), 1);
    let ended = tenants.rotate_key(Rotation { key: short.id, id: "r3".into(), overlap: Duration::ZERO }, BY).await;
    assert!(matches!(ended, Err(TenantError::Ended(_))), "{ended:?}");
}

async fn one_bootstrap_operator_lives_at_a_time(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let who = async |secret: &str| {
        let operators = ledger.tenants().credentials().await.unwrap().operators;
        OperatorCredential::find(&operators, secret.as_bytes()).map(|it| it.id)
    };
    let made = tenants.first_operator().await.unwrap().expect("the first start makes one");
    assert!(who(made.expose()).await.is_some());
    assert!(tenants.first_operator().await.unwrap().is_none(), "only the first");
    let (one, two) = ("the-first-of-the-given-admin-keys", "the-second-of-the-given-admin-keys");
    let id = tenants.ensure_operator(one).await.unwrap();
    assert_eq!((who(one).await, who(made.expose()).await), (Some(id), None), "the given key replaces the made one");
    let before = revision(&ledger).await;
    assert_eq!(tenants.ensure_operator(one).await.unwrap(), id);
    assert_eq!(revision(&ledger).await, before, "the same key again changes nothing");
    let new = NewOperator { id: ledger.new_id(), name: "second shift".into(), role: Role::Admin, org: None };
    let (minted, shown) = tenants.create_operator(new, BY).await.unwrap();
    let id = tenants.ensure_operator(two).await.unwrap();
    assert_eq!((who(one).await, who(two).await), (None, Some(id)));
    assert_eq!(who(shown.expose()).await, Some(minted.id), "other operators stay");
    assert_eq!(who("").await, None);
    names(tenants.ensure_operator("short").await, "admin_key");
    names(tenants.ensure_operator("sk-alf-looks-like-an-app-key-to-everyone").await, "admin_key");
    let expected = [
        "OPERATOR_CREATED",
        "OPERATOR_REVOKED",
        "OPERATOR_CREATED",
        "OPERATOR_CREATED",
        "OPERATOR_REVOKED",
        "OPERATOR_CREATED",
    ];
    let log = entries(&ledger, None).await;
    assert_eq!(log.iter().map(|(kind, _)| kind.as_str()).collect::<Vec<_>>(), expected);
    assert!(log.iter().all(|(_, line)| !line.contains(one) && !line.contains("second shift")));
}

async fn many_at_once_make_one_thing_and_keep_one_order(World { ledger, .. }: World) {
    let org = org(&ledger).await;
    let new = new_wallet(&ledger, org);
    let start = revision(&ledger).await;
    let same = (0..8).map(|_| {
        let (ledger, new) = (ledger.clone(), new.clone());
        async move { ledger.tenants().create_wallet(new, BY).await.unwrap() }
    });
    let made = futures_util::future::join_all(same).await;
    assert!(made.iter().all(|row| *row == made[0]));
    let different = (0..16).map(|_| {
        let ledger = ledger.clone();
        async move { key(&ledger, new.id).await.0.id }
    });
    let keys = futures_util::future::join_all(different).await;
    assert_eq!(revision(&ledger).await, start + 17);
    assert_eq!(ledger.tenants().credentials().await.unwrap().keys.len(), keys.len());
    let log = entries(&ledger, Some(org)).await;
    let lines: Vec<serde_json::Value> = log.iter().map(|(_, line)| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 18);
    assert!(lines.windows(2).all(|pair| pair[0]["hash"] == pair[1]["prev_hash"]));
}

async fn lists_go_on_where_the_page_before_ended(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let (org, other) = (org(&ledger).await, self::org(&ledger).await);
    for n in 0..5 {
        if n != 2 {
            ledger.clock().advance(Duration::from_micros(1)); // two of them are of one age
        }
        let purse = wallet(&ledger, new_wallet(&ledger, org)).await;
        key(&ledger, purse.id).await;
    }
    wallet(&ledger, new_wallet(&ledger, other)).await;
    let whole = tenants.wallets(Some(org), &Page::first(100)).await.unwrap();
    assert_eq!(whole.len(), 5);
    let (mut page, mut seen) = (Page::first(2), Vec::new());
    loop {
        let rows = tenants.wallets(Some(org), &page).await.unwrap();
        let Some(last) = rows.last() else { break };
        page.after = Some(last.mark());
        seen.extend(rows);
    }
    assert_eq!(seen, whole);
    assert_eq!(tenants.wallets(None, &Page::first(100)).await.unwrap().len(), 6);
    assert_eq!(tenants.orgs(&Page::first(1)).await.unwrap().len(), 1);
    let keys = tenants.keys(Some(org), Some(whole[3].id), &Page::first(9)).await.unwrap();
    assert_eq!(keys.iter().map(|it| it.wallet).collect::<Vec<_>>(), [whole[3].id]);
    assert!(tenants.keys(Some(other), None, &Page::first(9)).await.unwrap().is_empty());
    assert!(tenants.users(Some(org), &Page::first(9)).await.unwrap().is_empty());
    assert!(tenants.teams(Some(org), &Page::first(9)).await.unwrap().is_empty());
}

async fn a_claim_is_remembered_for_a_day(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    tenants.claim([1; 32], [7; 32]).await.unwrap();
    tenants.claim([1; 32], [7; 32]).await.unwrap();
    tenants.claim([2; 32], [8; 32]).await.unwrap();
    conflicts(tenants.claim([1; 32], [8; 32]).await);
    tenants.unclaim([2; 32]).await.unwrap();
    tenants.claim([2; 32], [9; 32]).await.unwrap();
    ledger.clock().advance(Duration::from_secs(86_400 + 1));
    tenants.claim([1; 32], [8; 32]).await.unwrap();
}

/// Needs real time: nothing but a deadline ends the wait for a network that says nothing.
async fn a_database_that_says_nothing_is_not_waited_for(world: World) {
    if world.on == On::Sqlite {
        return;
    }
    let (url, passes) = through_a_network(&world.url).await;
    let far = Ledger::open(options(&url, &world.clock, 99)).await.unwrap();
    far.tenants().credentials().await.unwrap();
    passes.send_replace(false);
    let asked = std::time::Instant::now();
    assert!(far.tenants().credentials().await.is_err());
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    passes.send_replace(true);
    far.tenants().credentials().await.expect("a new connection");
    passes.send_replace(false);
    let asked = std::time::Instant::now();
    far.close().await;
    assert!(asked.elapsed() < Duration::from_secs(45), "{:?}", asked.elapsed());
}

async fn limits_of_keys_and_teams_are_known_to_whoever_verifies_callers(World { ledger, .. }: World) {
    let (tenants, org) = (ledger.tenants(), org(&ledger).await);
    let purse = wallet(&ledger, new_wallet(&ledger, org)).await.id;
    let limits = Limits { rpm: Some(60), tpm: None, max_parallel: Some(4) };
    let new = NewTeam { id: ledger.new_id(), org, name: "Search".into(), limits, attributes: Attributes::new() };
    let made = tenants.create_team(new.clone(), BY).await.unwrap();
    assert_eq!(tenants.create_team(new.clone(), BY).await.unwrap(), made, "a repeat");
    conflicts(tenants.create_team(NewTeam { limits: Limits::default(), ..new }, BY).await);
    let new =
        NewKey { team: Some(made.id), max_parallel: Some(2), priority: Priority::High, ..new_key(&ledger, purse) };
    let (row, _) = tenants.create_key(new.clone(), BY).await.unwrap();
    conflicts(tenants.create_key(NewKey { priority: Priority::Low, ..new }, BY).await);
    let known = async || {
        let set = ledger.tenants().credentials().await.unwrap();
        let it = set.keys.into_iter().find(|it| it.key == row.id).expect("living");
        (Limits { rpm: it.rpm, tpm: it.tpm, max_parallel: it.max_parallel }, it.team_limits, it.priority)
    };
    let own = Limits { max_parallel: Some(2), ..Limits::default() };
    assert_eq!(known().await, (own, limits, Priority::High));

    let to = LimitChange { rpm: Some(None), tpm: Some(Some(9)), max_parallel: None };
    let team = tenants.change_team(made.id, TeamChange { limits: to, ..TeamChange::default() }, BY).await.unwrap();
    assert_eq!((team.limits, tenants.team(made.id).await.unwrap()), (to.of(limits), team.clone()));
    let change = KeyChange { limits: to, priority: Some(Priority::Low), ..KeyChange::default() };
    let changed = tenants.change_key(row.id, change.clone(), BY).await.unwrap();
    assert_eq!(changed, tenants.key(row.id).await.unwrap());
    assert_eq!(known().await, (to.of(own), to.of(limits), Priority::Low));
    let before = revision(&ledger).await;
    tenants.change_key(row.id, change, BY).await.expect("the same again");
    assert_eq!(revision(&ledger).await, before, "no change");
    let nothing = LimitChange { max_parallel: Some(Some(0)), ..LimitChange::default() };
    names(
        tenants.change_team(made.id, TeamChange { limits: nothing, ..TeamChange::default() }, BY).await,
        "max_parallel_requests",
    );
    names(
        tenants.change_key(row.id, KeyChange { limits: nothing, ..KeyChange::default() }, BY).await,
        "max_parallel_requests",
    );
}
