//! `ringback completion`

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, failure::Failure, output};

/// Print a completion script, as `source <(ringback completion bash)`.
#[derive(Args)]
pub(crate) struct Completion {
    /// For which shell.
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "ringback", &mut script);
        output::bytes(&script)
    }
}
