//! The `alfred` program: its commands, and nothing else.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use gateway::commands;
use gateway::policy_command::{self, ReplayArguments};
use gateway::prices_command::{self, ImportArguments};
use gateway::providers_command::{self, BenchArguments, CheckArguments};

// Calls allocate small and often on one thread and free on another: glibc's allocator took an eighth of a call's time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "alfred",
    version,
    about = "An AI governance gateway: every call knows who pays, may go, and is on record."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the gateway, the admin API and the front page on one port.
    Serve {
        /// The configuration; alfred.yaml in this folder, if there is one, unless given.
        #[arg(long, env = "ALFRED_CONFIG")]
        config: Option<PathBuf>,
        /// Everything built in: an embedded database, a simulated provider, a seeded organisation.
        #[arg(long)]
        demo: bool,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Look at audit exports.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Try policies.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Keep the price list.
    #[command(subcommand)]
    Prices(PricesCommand),
    /// Ask the configured providers themselves.
    #[command(subcommand)]
    Providers(ProvidersCommand),
    /// Bring the database to this version.
    Migrate {
        #[arg(long, env = "ALFRED_CONFIG")]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Print every fault of configuration, policies and catalogue with file, line and path; exit 1 on any.
    Check {
        #[arg(long, env = "ALFRED_CONFIG")]
        config: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
enum AuditCommand {
    /// Verify an export offline; names the first bad line; exit 1 on damage.
    Verify {
        /// A JSON Lines export, or - for standard input.
        export: PathBuf,
    },
}

#[derive(Subcommand)]
enum PricesCommand {
    /// Take over a community price list (model_prices_and_context_window.json). Done again, it changes nothing.
    ///
    /// It works on the database itself: with SQLite no server may run on it (send the file to
    /// POST /admin/v1/prices/import instead); with Postgres running servers take the prices up within seconds.
    Import(ImportArguments),
}

#[derive(Subcommand)]
enum ProvidersCommand {
    /// Compare each provider's own list of models with the catalogue: what is new, gone, or of another size.
    Check(CheckArguments),
    /// Measure first token, whole answer, speed and cost of a model with a few real calls, which its provider bills.
    Bench(BenchArguments),
}

#[derive(Subcommand)]
enum PolicyCommand {
    /// Run the tests of the shipped rules and of a folder of your own.
    Test { dir: Option<PathBuf> },
    /// Evaluate one input and print the decision.
    Eval {
        /// A JSON file with the facts, or - for standard input.
        #[arg(long, default_value = "-")]
        input: PathBuf,
        /// A folder of modules beside the shipped ones.
        #[arg(long)]
        dir: Option<PathBuf>,
        /// A JSON or YAML file that the rules read as `data.alfred`.
        #[arg(long)]
        data: Option<PathBuf>,
        /// What to evaluate; the decision unless given.
        #[arg(long)]
        query: Option<String>,
    },
    /// Ask other rules about calls that were recorded: who would be refused, and what that would have saved or cost.
    Replay(ReplayArguments),
}

fn main() -> ExitCode {
    // Two TLS libraries may be linked in; without a word on which is meant, building a client would panic.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    match Arguments::parse().command {
        Command::Serve { config, demo } => commands::serve(config, demo),
        Command::Config(ConfigCommand::Check { config }) => commands::config_check(config),
        Command::Audit(AuditCommand::Verify { export }) => commands::audit_verify(&export),
        Command::Policy(PolicyCommand::Test { dir }) => commands::policy_test(dir.as_deref()),
        Command::Policy(PolicyCommand::Eval { input, dir, data, query }) => {
            commands::policy_eval(&input, dir.as_deref(), data.as_deref(), query.as_deref())
        }
        Command::Policy(PolicyCommand::Replay(arguments)) => policy_command::replay(arguments),
        Command::Prices(PricesCommand::Import(arguments)) => prices_command::import(arguments),
        Command::Providers(ProvidersCommand::Check(arguments)) => providers_command::check(arguments),
        Command::Providers(ProvidersCommand::Bench(arguments)) => providers_command::bench(arguments),
        Command::Migrate { config } => commands::migrate(config),
    }
}
