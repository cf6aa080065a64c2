//! `eigenflow weights`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use super::Failure;
use crate::backbone::weights::{self, Listing, Source, State};

/// What can be done with weights.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Lists the weights that have a name: network, licence, where they come from, whether they are here
    List,
    /// Brings weights into the cache
    Get {
        /// A name from the list
        name: String,
        /// Another source: a file, or hub:OWNER/NAME/FILE
        #[arg(long, value_name = "SOURCE")]
        from: Option<String>,
    },
    /// Hashes all cached weights
    Verify,
}

impl Command {
    pub fn run(self) -> Result<ExitCode, Failure> {
        let cache = weights::cache_dir().context("no cache folder")?;
        match self {
            Command::List => {
                weights::list(&cache).iter().for_each(print);
                Ok(ExitCode::SUCCESS)
            }
            Command::Get { name, from } => {
                let source = from.as_deref().map_or(Source::Catalogue, Source::from);
                let weights = weights::get(&name, &source, &cache, &|line| eprintln!("{line}"))
                    .with_context(|| format!("weights {name}"))?;
                println!("{name}: {}, sha256 {}", weights.network, weights.sha256);
                Ok(ExitCode::SUCCESS)
            }
            Command::Verify => {
                let listings = weights::verify(&cache);
                listings.iter().for_each(print);
                let damaged = listings
                    .iter()
                    .any(|listing| matches!(listing.state, State::Damaged(_)));
                Ok(if damaged {
                    ExitCode::from(1)
                } else {
                    ExitCode::SUCCESS
                })
            }
        }
    }
}

fn print(listing: &Listing) {
    let entry = listing.entry;
    let state = match &listing.state {
        State::Absent => "not here".to_owned(),
        State::Present => "cached".to_owned(),
        State::Intact => "cached, intact".to_owned(),
        State::Damaged(cause) => format!("DAMAGED: {cause}"),
    };
    let size = listing
        .size_bytes
        .map_or_else(String::new, |bytes| format!(", {} MB", bytes / 1_000_000));
    println!(
        "{:14} {}, {} features, input as {} ({state}{size})",
        entry.name,
        entry.network,
        entry.features(),
        entry.preprocessing
    );
    println!(
        "{:14} from {}; licence: {}",
        "", entry.origin, entry.licence
    );
}
