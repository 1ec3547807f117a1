//! From a good configuration to a running house, and back down without losing a call.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ledger::{Ledger, NewOperator, Role, ShownKey};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::batches;
use crate::commands::{Origin, Plan};
use crate::config::{LogConfig, LogFormat};
use crate::listen::listen;
use crate::reload::{LogFilter, Reloader};
use crate::telemetry::Telemetry;
use crate::trust;
use crate::{back_door, demo, health_check, housekeeper, http, policy};

const BOOTSTRAP_KEY: &str = "ALFRED_BOOTSTRAP_ADMIN_KEY";
/// Calls that were told to end may take so long to settle.
const LAST_CALL: Duration = Duration::from_secs(10);

/// The runtime that everything runs on.
#[expect(clippy::expect_used, reason = "without a runtime there is nothing to do, and nobody to tell")]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives threads")
}

/// Runs until a signal, then finishes or settles what is in flight.
pub fn run(plan: Plan, origin: Origin) -> ExitCode {
    let log = listen_to(&plan.config.log);
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let runtime = runtime();
    match runtime.block_on(house(plan, origin, log)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alfred cannot run: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn house(plan: Plan, origin: Origin, log: LogFilter) -> Result<(), Box<dyn Error + Send + Sync>> {
    let ledger = Ledger::open(ledger::Options::new(plan.config.database_url())).await?;
    let outcome = rooms(&ledger, plan, origin, log).await;
    ledger.close().await;
    outcome
}

async fn rooms(
    ledger: &Ledger,
    plan: Plan,
    origin: Origin,
    log: LogFilter,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Plan { config, routes, policies, sinks, trust, telemetry: measured, demo, sha256, .. } = plan;
    let (telemetry, exporter) = Telemetry::install(routes.known.clone(), measured)?;
    let fleet = Arc::clone(&routes.fleet);
    tokio::task::spawn_blocking(move || fleet.warm()).await?;
    // Taken before anything is printed or seeded: a port in use is told first.
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", config.listen))?;
    let address = listener.local_addr()?;
    let admin = admin_key(ledger, demo).await?;
    let demo_key = match demo {
        true => Some(demo::seed(ledger).await?),
        false => None,
    };
    trust.begin(&routes.fleet).await;
    let (house, polled) = policy::first(policies, ledger).await.map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!("the house's rules cannot be had, and none are on record: {}", faults.join("; "))
    })?;
    let app = App::build(&config, ledger.clone(), routes, house, telemetry, trust).await?;
    polled.into_iter().for_each(|fault| app.rules.poll_fault.tell(fault));
    trust::keep(&app);
    app.limits.open(&app.tasks, &app.stop_now).await;
    announce(address, app.trust.tls.is_some(), admin.as_deref(), demo_key.as_ref())?;
    let reloader = Arc::new(Reloader::new(Arc::clone(&app), origin, sha256, sinks, log));
    let router = http::router(Arc::clone(&app), back_door::router(&app, &reloader));
    app.tasks.spawn(Arc::clone(&reloader).watch());
    app.tasks.spawn(reloader.listen_for_signals());
    app.tasks.spawn(batches::keep(Arc::clone(&app)));
    app.tasks.spawn(policy::follow(Arc::clone(&app)));
    app.tasks.spawn(policy::poll(Arc::clone(&app)));
    app.tasks.spawn(health_check::keep(Arc::clone(&app)));
    if let Some(exporter) = exporter {
        app.tasks.spawn(exporter.run(app.stop_now.clone(), app.tasks.clone()));
    }
    app.tasks.spawn(policy::keep_log(Arc::clone(&app)));
    let housekeeper = app.tasks.spawn(housekeeper::keep(Arc::clone(&app)));
    let signalled = Arc::clone(&app);
    app.tasks.spawn(async move {
        stop_signal(&signalled.stopping).await;
        tracing::info!("stopping: no new calls, waiting for those in flight");
        signalled.stopping.cancel();
    });
    // One grace for all: connections, calls and streams. What is not done by then is ended, and settled at what is known.
    let grace = Arc::clone(&app);
    app.tasks.spawn(async move {
        grace.stopping.cancelled().await;
        let over = tokio::time::timeout(grace.deadlines.shutdown(), grace.stop_now.cancelled()).await.is_err();
        if over {
            tracing::warn!("calls still run at the end of the grace period and are settled now");
            grace.stop_now.cancel();
        }
    });
    listen(&app, listener, router, config.limits.max_in_flight, &config.connections).await;
    app.tasks.close();
    // Every place given back: every call is closed.
    let all = u32::try_from(config.limits.max_in_flight).unwrap_or(u32::MAX);
    tokio::select! {
        _ = app.places.acquire_many(all) => {}
        () = app.stop_now.cancelled() => {}
    }
    app.stop_now.cancel();
    housekeeper.await.unwrap_or_else(|_| tracing::error!("the housekeeper panicked"));
    let _ = tokio::time::timeout(LAST_CALL, app.tasks.wait()).await;
    Ok(())
}

async fn stop_signal(stopping: &CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = stopping.cancelled() => {}
    }
}

/// The first admin key: the one given, or one that is made and shown once. A demo shows a fresh one at each start.
async fn admin_key(ledger: &Ledger, demo: bool) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
    if let Ok(given) = std::env::var(BOOTSTRAP_KEY) {
        ledger.tenants().ensure_operator(&given).await.map_err(|error| format!("{BOOTSTRAP_KEY}: {error}"))?;
        return Ok(None);
    }
    let shown: Option<ShownKey> = match ledger.tenants().first_operator().await? {
        None if demo => {
            let new = NewOperator { id: ledger.new_id(), name: "demo".to_owned(), role: Role::Admin, org: None };
            Some(ledger.tenants().create_operator(new, &ledger::Actor::System).await?.1)
        }
        shown => shown,
    };
    Ok(shown.map(|key| key.expose().to_owned()))
}

/// What somebody at a terminal needs, on standard output; logs go to standard error.
fn announce(address: SocketAddr, tls: bool, admin: Option<&str>, app_key: Option<&ShownKey>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(key) = app_key {
        writeln!(out, "{}", demo::welcome(address, key.expose(), admin))?;
    } else if let Some(key) = admin {
        writeln!(out, "admin key (shown once, never stored in clear): {key}")?;
    }
    let scheme = if tls { "https" } else { "http" };
    writeln!(out, "alfred listens on {scheme}://{address}")?;
    out.flush()
}

/// Logs: text or JSON lines on standard error. No prompt, output, key or personal data is ever logged.
fn listen_to(log: &LogConfig) -> LogFilter {
    use tracing_subscriber::Layer as _;
    use tracing_subscriber::layer::SubscriberExt as _;
    use tracing_subscriber::util::SubscriberInitExt as _;

    let filter = quiet(&log.filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let (filter, handle) = tracing_subscriber::reload::Layer::new(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    drop(tracing_subscriber::registry().with(filter).with(lines).try_init());
    Box::new(move |filter| handle.reload(quiet(filter)?).map_err(|error| error.to_string()))
}

/// Quiet by name: libraries that log request paths, statements or peers at levels an operator may well turn on.
fn quiet(filter: &str) -> Result<tracing_subscriber::EnvFilter, String> {
    let filter = format!("{filter},sqlx=warn,hyper=warn,h2=warn,rustls=warn,aws_sigv4=warn");
    tracing_subscriber::EnvFilter::try_new(filter).map_err(|error| error.to_string())
}

/// An error with its causes, once each.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}
