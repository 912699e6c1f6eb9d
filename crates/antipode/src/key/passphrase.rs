//! Passphrases: from a file that only its owner can read, or typed without echo. Never from arguments
//! or the environment, which other processes can see.

use std::io::{self, IsTerminal};
use std::path::Path;

use vault::kek::file::Passphrase;
use zeroize::Zeroizing;

use crate::serve::StartError;

/// The passphrase in a file, or typed at the terminal; none where there is neither.
pub(super) fn passphrase(file: Option<&Path>, prompt: &str) -> Result<Option<Passphrase>, StartError> {
    match file {
        Some(file) => Ok(Some(Passphrase::read(file)?)),
        None if io::stdin().is_terminal() => typed(prompt).map(Some),
        None => Ok(None),
    }
}

/// A passphrase for a new KEK. Typed, it is asked for twice.
pub(crate) fn new_passphrase(file: Option<&Path>) -> Result<Option<Passphrase>, StartError> {
    if file.is_some() || !io::stdin().is_terminal() {
        return passphrase(file, "");
    }
    let first = typed("New passphrase of the KEK")?;
    match typed("The same once more")? == first {
        true => Ok(Some(first)),
        false => Err(StartError::Refused("the two passphrases differ".into())),
    }
}

fn typed(prompt: &str) -> Result<Passphrase, StartError> {
    let text = rpassword::prompt_password(format!("{prompt}: "));
    let text = text.map_err(|cause| StartError::io("reading the terminal", Path::new("-"), cause))?;
    Ok(Passphrase::new(Zeroizing::new(text))?)
}
