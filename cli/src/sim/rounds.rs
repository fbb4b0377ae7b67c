//! `starling sim --rounds`: how many rounds push-pull takes, beside theory.

use serde::Serialize;
use starling_sim::{RoundsRow, RoundsTable, SIZES};

use crate::args::SimArgs;
use crate::exit::Failure;
use crate::output::table::{Side, table};
use crate::output::{Output, Render, write_json};

/// Others that each node compares with in a round: the product's one, and ten.
const FANOUTS: [u32; 2] = [1, 10];
/// Runs of each row.
const SEEDS: u64 = 5;

/// Prints the table.
pub(super) fn run(args: &SimArgs, output: &Output) -> Result<(), Failure> {
    let found = starling_sim::rounds_table(&SIZES, &FANOUTS, SEEDS, |row| {
        output.detail(&format!(
            "{} nodes, {} others a round: {} rounds",
            row.nodes, row.fanout, row.rounds.p50
        ));
    });
    if let Some(path) = &args.json {
        write_json(path, &found)?;
    }
    output.print(&Shown(&found))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown<'a>(&'a RoundsTable);

impl Render for Shown<'_> {
    fn table(&self) -> String {
        let columns = ["NODES", "OTHERS A ROUND", "ROUNDS P50", "ROUNDS MAX", "THEORY"];
        let row = |row: &RoundsRow| {
            let RoundsRow { nodes, fanout, rounds, expected } = row;
            let numbers = [*nodes as usize, *fanout as usize, rounds.p50, rounds.max, *expected as usize];
            numbers.map(|number| number.to_string()).to_vec()
        };
        table(&columns.map(|name| (name, Side::Right)), self.0.rows.iter().map(row).collect(), "no rows")
    }
}
