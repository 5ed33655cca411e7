//! `chronik-bench`: load for any Kafka broker, measured from outside.
//!
//! Owns the process: one async thread (the load is meant to be pinned to one core), the printing
//! of the report, and the exit code, which is not zero when anything asked for did not happen.

mod batch;
mod cli;
mod consume;
mod cpu;
mod e2e;
mod librd;
mod produce;
mod progress;
mod raw;
mod report;
mod values;
mod window;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Load};
use crate::raw::Result;
use crate::report::Report;

fn main() -> ExitCode {
    let load = Cli::parse().load;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    match runtime.block_on(run(load)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn fail(error: &raw::Error) -> ExitCode {
    eprintln!("chronik-bench: {error}");
    ExitCode::FAILURE
}

async fn run(load: Load) -> Result<bool> {
    let (name, common, options, (outcome, costs)) = match load {
        Load::Produce(args) => {
            ("produce", args.common.clone(), serde_json::to_value(&args)?, produce::run(&args).await?)
        }
        Load::Consume(args) => {
            ("consume", args.common.clone(), serde_json::to_value(&args)?, consume::run(&args).await?)
        }
        Load::E2e(args) => ("e2e", args.common.clone(), serde_json::to_value(&args)?, e2e::run(&args).await?),
    };
    if common.cleanup {
        raw::admin::delete_topic(&common.bootstrap, &common.topic).await?;
    }
    let report = Report::new(name, options, &outcome, costs);
    print(&if common.json { serde_json::to_string(&report)? } else { report.to_text() });
    Ok(report.is_clean())
}

#[expect(clippy::print_stdout, reason = "the report is what this program is for")]
fn print(report: &str) {
    println!("{report}");
}
