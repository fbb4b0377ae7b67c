//! `starling config check` and `starling config show`.

use crate::args::config::ConfigFileArgs;
use crate::args::{ConfigArgs, ConfigCommand};
use crate::config::check;
use crate::config::show::Shown;
use crate::config::{Config, Settings};
use crate::exit::Failure;
use crate::output::Output;

/// Does what was asked with a configuration.
pub fn run(args: &ConfigArgs, output: &Output) -> Result<(), Failure> {
    match &args.command {
        ConfigCommand::Check(file) => {
            let (config, settings) = load(file)?;
            starling_net::trust::install_crypto();
            let checked = check::check(&config, &settings)?;
            for warning in &checked.warnings {
                output.warn(warning);
            }
            output.print(&checked)
        }
        ConfigCommand::Show { file, origin } => {
            let (config, settings) = load(file)?;
            output.print(&Shown::of(&config, &settings, *origin))
        }
    }
}

fn load(args: &ConfigFileArgs) -> Result<(Config, Settings), Failure> {
    Ok(Config::load(&args.file, &args.overrides)?)
}
