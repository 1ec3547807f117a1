//! The house with everything built in: no account, no download, no other server.

use std::net::SocketAddr;

use ledger::{
    Actor, Attributes, Id, Ledger, Money, NewKey, NewOrg, NewTeam, NewUser, NewWallet, ShownKey, TenantError,
    WalletKind, Window,
};

/// What a demo is configured with, unless a file says otherwise.
pub const CONFIG: &str = include_str!("demo.yaml");

/// Seeds the organisation once, and makes a fresh app key at each start.
///
/// # Errors
/// When the ledger cannot be written.
pub async fn seed(ledger: &Ledger) -> Result<ShownKey, TenantError> {
    let seed = Seed { ledger };
    let wallet = seed.organisation().await?;
    seed.app_key("demo app", wallet.0, Some(wallet.1)).await
}

struct Seed<'a> {
    ledger: &'a Ledger,
}

/// The demo's things have fixed ids: seeding twice is seeding once.
fn fixed<K: ledger::Kind>(n: u128) -> Id<K> {
    Id::from_uuid(uuid::Uuid::from_u128(0x0000_0000_0000_7000_8000_0000_0000_0000 | n))
}

fn usd(dollars: i64) -> Money {
    Money::from_nanos(dollars.saturating_mul(ledger::NANOS_PER_USD))
}

impl Seed<'_> {
    /// An org, two teams with a user each, and wallets with hard and soft limits. Gives the search team's app wallet.
    async fn organisation(&self) -> Result<(Id<ledger::Wallet>, Id<ledger::User>), TenantError> {
        let tenants = self.ledger.tenants();
        let org = tenants
            .create_org(
                NewOrg { id: fixed(1), name: "Demo Company".into(), attributes: Attributes::new() },
                &Actor::System,
            )
            .await?
            .id;
        let root = self.wallet(10, "company", WalletKind::Org, None, None, 100).await?;
        let mut app = None;
        for (n, name, person, limit) in [(2, "search", "Ada", 40), (3, "support", "Grace", 25)] {
            let team = NewTeam {
                id: fixed(n),
                org,
                name: name.into(),
                limits: ledger::Limits::default(),
                attributes: Attributes::new(),
            };
            let team = tenants.create_team(team, &Actor::System).await?.id;
            let user = NewUser {
                id: fixed(n + 20),
                org,
                name: person.into(),
                email: None,
                teams: vec![team],
                groups: vec![],
                attributes: Attributes::new(),
            };
            let user = tenants.create_user(user, &Actor::System).await?.id;
            let team_wallet = self.wallet(n + 10, name, WalletKind::Team, Some(root), Some(team), limit).await?;
            let key_wallet =
                self.wallet(n + 30, &format!("{name} app"), WalletKind::Key, Some(team_wallet), None, 10).await?;
            app.get_or_insert((key_wallet, user));
        }
        app.ok_or_else(|| TenantError::Unknown("demo wallet".into()))
    }

    async fn wallet(
        &self,
        n: u128,
        name: &str,
        kind: WalletKind,
        parent: Option<Id<ledger::Wallet>>,
        team: Option<Id<ledger::Team>>,
        limit: i64,
    ) -> Result<Id<ledger::Wallet>, TenantError> {
        let new = NewWallet {
            team,
            parent,
            hard_limit: Some(usd(limit)),
            soft_limit: Some(usd(limit * 8 / 10)),
            window: Window::Month,
            ..NewWallet::new(fixed(n), fixed(1), name, kind)
        };
        Ok(self.ledger.tenants().create_wallet(new, &Actor::System).await?.id)
    }

    async fn app_key(
        &self,
        name: &str,
        wallet: Id<ledger::Wallet>,
        user: Option<Id<ledger::User>>,
    ) -> Result<ShownKey, TenantError> {
        let new = NewKey { user, ..NewKey::new(self.ledger.new_id(), name, wallet) };
        Ok(self.ledger.tenants().create_key(new, &Actor::System).await?.1)
    }
}

/// What a newcomer reads: the keys and three lines to try.
pub fn welcome(address: SocketAddr, key: &str, admin: Option<&str>) -> String {
    let base = format!("http://{address}");
    let admin_line = match admin {
        Some(key) => format!("  admin key  {key}"),
        None => "  admin key  the one given in ALFRED_BOOTSTRAP_ADMIN_KEY".to_owned(),
    };
    let admin_shown = admin.unwrap_or("$ALFRED_BOOTSTRAP_ADMIN_KEY");
    format!(
        "\nAlfred demo: one organisation, two teams, wallets with limits, a simulated provider.\n\n\
         \x20 app key    {key}\n{admin_line}\n  base URL   {base}/v1\n\n\
         Try:\n\n\
         1. a governed call\n\
         curl -s {base}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
         -d '{{\"model\":\"{MODEL}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello, Alfred\"}}]}}'\n\n\
         2. the same as a stream, with its cost in the last chunk\n\
         curl -sN {base}/v1/chat/completions -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
         -d '{{\"model\":\"{MODEL}\",\"stream\":true,\"stream_options\":{{\"include_usage\":true}},\
         \"messages\":[{{\"role\":\"user\",\"content\":\"My card is 4111 1111 1111 1111\"}}]}}'\n\n\
         3. what it cost, and who paid\n\
         curl -s '{base}/admin/v1/requests?limit=5' -H 'authorization: Bearer {admin_shown}'\n"
    )
}

const MODEL: &str = "demo-chat";
