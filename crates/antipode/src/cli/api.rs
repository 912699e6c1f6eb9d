//! `antipode api METHOD PATH`: one request, as it is.

use std::io::Read;
use std::path::PathBuf;

use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::Context;
use super::error::{CliError, Outcome};
use super::output::print_json;

/// The largest body that is read from standard input, in bytes.
const BODY_BYTES_MAX: u64 = 16 << 20;

/// One request.
#[derive(Debug, Args)]
pub struct ApiRequest {
    /// GET, POST, PUT, DELETE or HEAD
    method: String,
    /// From the root (/antipode/v1/servers) or within the project (policies)
    path: String,
    /// File with a JSON body; - is standard input
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
}

impl ApiRequest {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let bad_method = |_| CliError::usage(format!("{} is not a method", self.method));
        let method = Method::from_bytes(self.method.to_ascii_uppercase().as_bytes()).map_err(bad_method)?;
        let body = self.body.as_deref().map(read_body).transpose()?;
        let url = context.session.free_url(&self.path)?;
        let answer = context.session.ask(method, &url, body.as_ref()).await?;
        if !answer.body.is_null() {
            print_json(&answer.body);
        }
        if (200..400).contains(&answer.status) {
            return Ok(());
        }
        Err(CliError::refused(answer.status, &answer.body))
    }
}

fn read_body(path: &std::path::Path) -> Outcome<Value> {
    let unreadable = |error| CliError::usage(format!("cannot read {}: {error}", path.display()));
    let mut text = String::new();
    if path.as_os_str() == "-" {
        std::io::stdin().lock().take(BODY_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    } else {
        text = std::fs::read_to_string(path).map_err(unreadable)?;
    }
    serde_json::from_str(&text).map_err(|error| CliError::usage(format!("the body is not JSON: {error}")))
}
