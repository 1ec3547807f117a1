//! From a good configuration to a running house, and back down without losing a call.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use ledger::{Ledger, ShownKey};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::commands::Plan;
use crate::config::{LogConfig, LogFormat};
use crate::telemetry::Telemetry;
use crate::{back_door, demo, housekeeper, http};

const BOOTSTRAP_KEY: &str = "ALFRED_BOOTSTRAP_ADMIN_KEY";
/// Calls that were told to end may take so long to settle.
const LAST_CALL: Duration = Duration::from_secs(10);

/// The runtime that everything runs on.
#[expect(clippy::expect_used, reason = "without a runtime there is nothing to do, and nobody to tell")]
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives threads")
}

/// Runs until a signal, then finishes or settles what is in flight.
pub fn run(plan: Plan) -> ExitCode {
    listen_to(&plan.config.log);
    for note in &plan.notes {
        eprintln!("note: {note}");
    }
    let runtime = runtime();
    match runtime.block_on(house(plan)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("alfred cannot run: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn house(plan: Plan) -> Result<(), Box<dyn Error + Send + Sync>> {
    let Plan { config, routes, policies, demo, .. } = plan;
    let ledger = Ledger::open(ledger::Options::new(config.database_url())).await?;
    let outcome = rooms(&config, &ledger, routes, policies, demo).await;
    ledger.close().await;
    outcome
}

async fn rooms(
    config: &crate::config::Config,
    ledger: &Ledger,
    routes: crate::snapshot::Routes,
    policies: policies::PolicySet,
    demo: bool,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let telemetry = Telemetry::install(crate::snapshot::known_models(&routes))?;
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
    let app = App::build(config, ledger.clone(), routes, policies, telemetry).await?;
    announce(address, admin.as_deref(), demo_key.as_ref())?;
    let admin_api = back_door::router(&app);
    let housekeeper = app.tasks.spawn(housekeeper::keep(Arc::clone(&app)));
    let served = listen(&app, listener, http::router(Arc::clone(&app), admin_api)).await;
    app.stopping.cancel();
    app.tasks.close();
    if tokio::time::timeout(app.deadlines.shutdown(), app.tasks.wait()).await.is_err() {
        tracing::warn!("calls are still running at the end of the grace period and are settled now");
        app.stop_now.cancel();
        let _ = tokio::time::timeout(LAST_CALL, app.tasks.wait()).await;
    }
    housekeeper.abort();
    served
}

async fn listen(
    app: &Arc<App>,
    listener: TcpListener,
    router: axum::Router,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let signalled = CancellationToken::new();
    let stop = signalled.clone();
    // Small chunks of a stream must leave at once.
    let listener = listener.tap_io(|socket| drop(socket.set_nodelay(true)));
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let server = axum::serve(listener, service).with_graceful_shutdown(async move { stop.cancelled().await });
    let server = std::future::IntoFuture::into_future(server);
    tokio::pin!(server);
    tokio::select! {
        ended = &mut server => return Ok(ended?),
        () = stop_signal() => {}
    }
    tracing::info!("stopping: no new calls, waiting for those in flight");
    app.stopping.cancel();
    signalled.cancel();
    if tokio::time::timeout(app.deadlines.shutdown(), &mut server).await.is_err() {
        app.stop_now.cancel();
        let _ = tokio::time::timeout(LAST_CALL, &mut server).await;
    }
    Ok(())
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// The first admin key: the one given, or one that is made and shown once. A demo shows a fresh one at each start.
async fn admin_key(ledger: &Ledger, demo: bool) -> Result<Option<String>, Box<dyn Error + Send + Sync>> {
    if let Ok(given) = std::env::var(BOOTSTRAP_KEY) {
        ledger.tenants().ensure_operator(&given).await.map_err(|error| format!("{BOOTSTRAP_KEY}: {error}"))?;
        return Ok(None);
    }
    let shown: Option<ShownKey> = match ledger.tenants().first_operator().await? {
        None if demo => Some(ledger.tenants().mint_operator("demo", &ledger::Actor::System).await?.1),
        shown => shown,
    };
    Ok(shown.map(|key| key.expose().to_owned()))
}

/// What somebody at a terminal needs, on standard output; logs go to standard error.
fn announce(address: SocketAddr, admin: Option<&str>, app_key: Option<&ShownKey>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if let Some(key) = app_key {
        writeln!(out, "{}", demo::welcome(address, key.expose(), admin))?;
    } else if let Some(key) = admin {
        writeln!(out, "admin key (shown once, never stored in clear): {key}")?;
    }
    writeln!(out, "alfred listens on http://{address}")?;
    out.flush()
}

/// Logs: text or JSON lines on standard error. No prompt, output, key or personal data is ever logged.
fn listen_to(log: &LogConfig) {
    // Quiet by name: libraries that log request paths, statements or peers at levels an operator may well turn on.
    let filter = format!("{},sqlx=warn,hyper=warn,h2=warn,rustls=warn", log.filter);
    let filter =
        tracing_subscriber::EnvFilter::try_new(filter).unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = match log.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    drop(set);
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
