//! The `antipode` program: one command, then its exit code. Everything else is in the library.

use std::process::ExitCode;

use antipode::cli::{self, ApiCommand, Cli, Command, ReceiptCommand};
use antipode::config::Config;
use antipode::serve::StartError;
use antipode::vault_command::VaultCommand;
use antipode::{demo, dev, init, key, rebuild, serve, vault_command};
use clap::Parser;

/// Exit code of a command that failed.
const FAILED: u8 = 1;

#[tokio::main]
async fn main() -> ExitCode {
    antipode::peer::install_crypto_provider();
    let Cli { command, global } = Cli::parse();
    match command {
        Command::Init(args) => ended(init::run(args, global.region).await),
        Command::Serve(args) => ended(serve_region(&args).await),
        Command::Key(args) => ended(key::run(args, global).await),
        Command::Rebuild(args) => ended(rebuild::run(args, global.json).await),
        Command::Vault(VaultCommand::Verify(args)) => {
            match vault_command::verify_region(args, global.json).await {
                Ok(true) => ExitCode::SUCCESS,
                Ok(false) => ExitCode::from(FAILED),
                Err(error) => ended(Err(error)),
            }
        }
        Command::Vault(VaultCommand::Served(command)) => {
            cli::exit_code(cli::run(ApiCommand::Vault(command), global).await)
        }
        Command::Receipt(ReceiptCommand::Verify(args)) => cli::exit_code(cli::verify_receipt(&args, &global)),
        Command::Receipt(ReceiptCommand::Served(command)) => {
            cli::exit_code(cli::run(ApiCommand::Receipt(command), global).await)
        }
        Command::Dev(args) => ended(dev::run(args, global.quiet || global.json).await),
        Command::Demo(args) => ended(demo::run(args).await),
        Command::Api(command) => cli::exit_code(cli::run(command, global).await),
    }
}

async fn serve_region(args: &serve::ServeArgs) -> Result<(), StartError> {
    if args.ends_with_stdin {
        serve::end_with_stdin();
    }
    serve::run(Config::read(&args.config)?).await
}

/// Says what went wrong, with its causes, on one line.
fn ended<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    let Err(error) = result else { return ExitCode::SUCCESS };
    let mut line = format!("antipode: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    eprintln!("{line}");
    ExitCode::from(FAILED)
}
