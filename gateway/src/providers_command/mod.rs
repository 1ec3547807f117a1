//! `alfred providers check` and `alfred providers bench`: the configured providers asked directly, with their own keys and
//! without a wallet. Neither prints a key, a prompt, an answer or a provider's own words.

mod bench;
mod check;
mod page;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use providers::{Deadlines, Outbound, ProviderConfig};

use crate::commands::{self, Plan};

/// Whose lists of models to ask for.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// The provider's id in the configuration; all of them unless given.
    id: Option<String>,
    #[arg(long, env = "ALFRED_CONFIG")]
    config: Option<PathBuf>,
    /// Name every model, however many there are.
    #[arg(long)]
    all: bool,
}

/// What to measure.
#[derive(Debug, Args)]
pub struct BenchArguments {
    /// The provider's id in the configuration.
    id: String,
    /// The provider's own name of the model; the first one that converses unless given.
    #[arg(long)]
    model: Option<String>,
    /// How many calls, one after the other. Each is billed by the provider.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    requests: u32,
    /// The longest answer, in tokens.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=4096))]
    max_tokens: u32,
    /// Write the figures into this page, such as docs/providers/openai.md.
    #[arg(long, value_name = "PAGE")]
    write: Option<PathBuf>,
    #[arg(long, env = "ALFRED_CONFIG")]
    config: Option<PathBuf>,
}

/// Compares the providers' lists with the catalogue; 1 if a provider cannot be reached or refuses its key, 2 if there is none.
pub fn check(arguments: CheckArguments) -> ExitCode {
    let CheckArguments { id, config, all } = arguments;
    let plan = match commands::planned(config) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let chosen: Vec<&ProviderConfig> =
        plan.config.providers.iter().filter(|it| id.as_ref().is_none_or(|id| *id == it.id)).collect();
    if chosen.is_empty() {
        return nobody(id.as_deref());
    }
    match crate::serve::runtime().block_on(check::check(&plan.routes.fleet, &outbound(&plan), &chosen, all)) {
        0 => ExitCode::SUCCESS,
        failed => {
            eprintln!("{failed} of {} providers could not be asked", chosen.len());
            ExitCode::FAILURE
        }
    }
}

/// Measures one model; 1 if a call fails, 2 if there is no such provider.
pub fn bench(arguments: BenchArguments) -> ExitCode {
    let BenchArguments { id, model, requests, max_tokens, write, config } = arguments;
    let plan = match commands::planned(config) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    if !plan.config.providers.iter().any(|it| it.id == id) {
        return nobody(Some(&id));
    }
    let measured = bench::target(&plan.routes.fleet, &id, model.as_deref()).and_then(|target| {
        let rates = plan.routes.prices.of(&target);
        let outbound = outbound(&plan);
        let wanted = bench::Wanted { target, rates, requests, max_tokens };
        crate::serve::runtime().block_on(bench::measure(&outbound, wanted))
    });
    let figures = match measured {
        Ok(figures) => figures,
        Err(complaint) => {
            eprintln!("{complaint}");
            return ExitCode::FAILURE;
        }
    };
    print!("{}", figures.table());
    match write.map(|page| page::write(&page, &figures.row(ledger::Clock::system().now()))) {
        None | Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(complaint)) => {
            eprintln!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn nobody(id: Option<&str>) -> ExitCode {
    match id {
        Some(id) => eprintln!("there is no provider {id} in the configuration"),
        None => eprintln!("no providers are configured"),
    }
    ExitCode::from(2)
}

/// The client; keys that a vault has are fetched before it is used.
fn outbound(plan: &Plan) -> Outbound {
    crate::serve::runtime().block_on(plan.trust.begin(&plan.routes.fleet));
    let deadlines = &plan.config.deadlines;
    let millis = Duration::from_millis;
    Outbound::new(Deadlines {
        connect: millis(deadlines.connect_ms),
        first_byte: millis(deadlines.first_byte_ms),
        whole: millis(deadlines.whole_ms),
        idle: millis(deadlines.idle_ms),
    })
}
