//! The command line: noun, then verb. Commands call the public API like anybody else; only `init`,
//! `serve`, `key`, `rebuild`, `vault`, `dev` and `demo` touch disks, and those live outside this module.

mod api;
mod checkpoint;
mod coverage;
mod credential;
pub mod error;
mod grant;
mod item;
mod login;
mod names;
mod output;
mod policy;
mod policy_destinations;
mod policy_fields;
mod policy_retention;
mod project;
mod quota;
mod receipt;
mod region;
mod replication;
mod restore;
mod server;
mod session;
mod user;
mod vault;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use self::error::CliError;
use self::login::Credentials;
use self::output::{Format, Output};
pub use self::receipt::{ReceiptCommand, verify as verify_receipt};
use self::session::Session;
pub use self::vault::ServedVaultCommand;
use self::wait::Patience;
pub(crate) use self::wait::{Display as ProgressDisplay, Progress as ProgressShown};
use crate::demo::DemoArgs;
use crate::dev::DevArgs;
use crate::init::InitArgs;
use crate::key::KeyArgs;
use crate::rebuild::RebuildArgs;
use crate::serve::ServeArgs;
use crate::vault_command::VaultCommand;

/// Self-hosted backup of servers, with replication to other regions.
#[derive(Debug, Parser)]
#[command(name = "antipode", version, about, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What holds for every command.
    #[command(flatten)]
    pub global: Global,
}

/// Flags that every command knows.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Identity service of the region; OS_AUTH_URL if left out
    #[arg(long, global = true, value_name = "URL")]
    auth_url: Option<String>,
    /// User; OS_USERNAME if left out
    #[arg(long, global = true, value_name = "NAME")]
    username: Option<String>,
    /// File whose first line is the password; OS_PASSWORD if left out
    #[arg(long, global = true, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Project, by name or id; OS_PROJECT_ID or OS_PROJECT_NAME if left out
    #[arg(long, global = true, value_name = "PROJECT")]
    pub project: Option<String>,
    /// Region to talk to; OS_REGION_NAME if left out
    #[arg(long, global = true, value_name = "NAME")]
    pub region: Option<String>,
    /// How to show answers
    #[arg(short, long, global = true, value_enum, default_value_t = Shown::Table)]
    output: Shown,
    /// Short for --output json
    #[arg(long, global = true)]
    pub json: bool,
    /// Show ids only
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Show sizes in bytes
    #[arg(long, global = true)]
    bytes: bool,
    /// Wait until what was ordered has ended
    #[arg(long, global = true)]
    wait: bool,
    /// Give up waiting after so many seconds; the work itself goes on
    #[arg(long, global = true, value_name = "SECONDS")]
    timeout: Option<u64>,
}

/// How answers are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    Table,
    Json,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a region: keys, store, catalog, first user, recovery kit
    Init(InitArgs),
    /// Run a region
    Serve(ServeArgs),
    /// The region's keys: rotate, begin and retire epochs, prove the kit (while it is not served)
    Key(KeyArgs),
    /// Bring a lost catalog back from the object store
    Rebuild(RebuildArgs),
    /// Vaults of the region: their collection (operator) and, while nobody serves it, their verification
    #[command(subcommand)]
    Vault(VaultCommand),
    /// Receipts: what destinations signed for, and their proof without any region
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Run two regions with demo servers on this machine, until Ctrl-C
    Dev(DevArgs),
    /// Show the whole story on this machine, with real disks
    Demo(DemoArgs),
    /// What the API serves.
    #[command(flatten)]
    Api(ApiCommand),
}

/// Every noun that the API serves.
#[derive(Debug, Subcommand)]
pub enum ApiCommand {
    /// Projects of the region (operator)
    #[command(subcommand)]
    Project(project::ProjectCommand),
    /// What a project may hold of backups made here
    #[command(subcommand)]
    Quota(quota::QuotaCommand),
    /// Users of the region (operator)
    #[command(subcommand)]
    User(user::UserCommand),
    /// Protected servers
    #[command(subcommand)]
    Server(server::ServerCommand),
    /// Backup policies
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Checkpoints: runs of a policy and manual backups
    #[command(subcommand)]
    Checkpoint(checkpoint::CheckpointCommand),
    /// Checkpoint items: one server inside a checkpoint
    #[command(subcommand)]
    Item(item::ItemCommand),
    /// Replication records: one item on its way to another region
    #[command(subcommand)]
    Replication(replication::ReplicationCommand),
    /// Which servers could be had back in which other region
    #[command(subcommand)]
    Coverage(coverage::CoverageCommand),
    /// Restores
    #[command(subcommand)]
    Restore(restore::RestoreCommand),
    /// Acceptance grants: who may bring replicas into this project
    #[command(subcommand)]
    Grant(grant::GrantCommand),
    /// Your access keys in this project: for programs that sign their requests
    #[command(subcommand)]
    Credential(credential::CredentialCommand),
    /// Other regions (operator)
    #[command(subcommand)]
    Region(region::RegionCommand),
    /// Vaults of the region and their collection (operator); a part of [`Command::Vault`].
    #[command(skip)]
    Vault(vault::ServedVaultCommand),
    /// Receipts that the region shows; a part of [`Command::Receipt`].
    #[command(skip)]
    Receipt(receipt::ServedReceiptCommand),
    /// Send one request to the API and show the answer
    Api(api::ApiRequest),
}

/// What commands work with.
struct Context {
    session: Session,
    output: Output,
    patience: Patience,
}

/// Runs a command that the API serves.
pub async fn run(command: ApiCommand, global: Global) -> Result<(), CliError> {
    let context = Context {
        output: Output { format: global.format(), raw_bytes: global.bytes },
        patience: Patience::new(global.wait, global.timeout.map(Duration::from_secs)),
        session: Session::open(global.credentials()).await?,
    };
    match command {
        ApiCommand::Project(command) => command.run(&context).await,
        ApiCommand::Quota(command) => command.run(&context).await,
        ApiCommand::User(command) => command.run(&context).await,
        ApiCommand::Server(command) => command.run(&context).await,
        ApiCommand::Policy(command) => command.run(&context).await,
        ApiCommand::Checkpoint(command) => command.run(&context).await,
        ApiCommand::Item(command) => command.run(&context).await,
        ApiCommand::Replication(command) => command.run(&context).await,
        ApiCommand::Coverage(command) => command.run(&context).await,
        ApiCommand::Restore(command) => command.run(&context).await,
        ApiCommand::Grant(command) => command.run(&context).await,
        ApiCommand::Credential(command) => command.run(&context).await,
        ApiCommand::Region(command) => command.run(&context).await,
        ApiCommand::Vault(command) => command.run(&context).await,
        ApiCommand::Receipt(command) => command.run(&context).await,
        ApiCommand::Api(request) => request.run(&context).await,
    }
}

/// Says what went wrong, if something did, and with which code the process ends.
pub fn exit_code(outcome: Result<(), CliError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("antipode: {error}");
            ExitCode::from(error.exit as u8)
        }
    }
}

impl Global {
    fn format(&self) -> Format {
        match (self.quiet, self.json || self.output == Shown::Json) {
            (true, _) => Format::Ids,
            (false, true) => Format::Json,
            (false, false) => Format::Table,
        }
    }

    fn credentials(self) -> Credentials {
        let given = Credentials {
            auth_url: self.auth_url,
            username: self.username,
            password_file: self.password_file,
            project: self.project,
            region: self.region,
            ..Credentials::default()
        };
        given.or_environment()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_noun_parses_with_global_flags_on_either_side() {
        for line in [
            "antipode policy list --json",
            "antipode --json policy replicate nightly --to eu-b/p2 --wait --timeout 60",
            "antipode item show db1@latest -q",
            "antipode item explain db1@latest --to eu-b --json",
            "antipode coverage check --all-projects",
            "antipode policy replicate nightly --to eu-b/p2 --plan",
            "antipode policy destination set nightly --to eu-b --rpo 26h",
            "antipode restore start x --volume root=new-root --yes",
            "antipode grant create --from eu-a/p1 --keep-min 7",
            "antipode server add db1 --volume root=/srv/a.img:raw",
            "antipode policy create n --keep-last -1 --at FREQ=DAILY;BYHOUR=1;BYMINUTE=0",
            "antipode region confirm eu-b ABCDE",
            "antipode vault collect --json",
            "antipode replication pause 1234 5678 --json",
            "antipode replication cancel --policy nightly",
            "antipode replication retry 1234",
            "antipode receipt list -q",
            "antipode receipt show 1234 --out r.receipt",
            "antipode receipt verify r.receipt --key 00 --json",
            "antipode region limit eu-b 10MiB",
            "antipode policy retention preview nightly --at 2027-01-01T00:00:00 --keep-last 3",
            "antipode policy adopt nightly 2b1f8c3e-5f0d-4f0e-9a53-6f5f0a7f1d01",
            "antipode quota set p1 --backups -1 --capacity 100",
            "antipode credential create --description ci --json",
            "antipode user set u --disable --new-password-file f",
            "antipode project set p --name q --enable",
            "antipode api GET /version",
        ] {
            if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                panic!("{line}: {error}");
            }
        }
        assert!(Cli::try_parse_from(["antipode", "policy", "list", "--password", "x"]).is_err());
        for line in [
            "antipode replication pause",
            "antipode replication pause 1234 --policy nightly",
            "antipode replication retry",
            "antipode receipt verify r.receipt",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
