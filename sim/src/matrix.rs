//! Round-trip times between regions, as measured: `{"data": {"FROM": {"TO": MILLISECONDS}}}`, the form
//! of cloudping.co.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

/// Between regions of whose distance nothing is known.
const DEFAULT_ROUND_TRIP: Duration = Duration::from_millis(40);
/// A round trip of more than this is a mistake of the file.
const ROUND_TRIP_MAX_MS: f64 = 60_000.0;

/// Round-trip times between numbered regions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    /// What the file calls the regions.
    pub names: Vec<String>,
    round_trips: Vec<Vec<Duration>>,
}

/// Why a matrix is refused.
#[derive(Debug, thiserror::Error)]
pub enum MatrixError {
    /// It is not JSON of the form above; the text says where.
    #[error("not of the form {{\"data\": {{FROM: {{TO: milliseconds}}}}}}: {0}")]
    Form(#[from] serde_json::Error),
    /// A cell is no distance.
    #[error("row {from}, column {to}: {milliseconds} ms is no round-trip time (0 to 60,000)")]
    Cell {
        /// The row.
        from: String,
        /// The column.
        to: String,
        /// What it says.
        milliseconds: f64,
    },
    /// A cell is missing.
    #[error("row {from} has no column {to}")]
    Missing {
        /// The row.
        from: String,
        /// The column.
        to: String,
    },
    /// There is nothing in it.
    #[error("no region in it")]
    Empty,
}

#[derive(Deserialize)]
struct File {
    data: BTreeMap<String, BTreeMap<String, f64>>,
}

impl Matrix {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// It is of another form, or has a cell that is no distance; the error names the cell.
    pub fn parse(text: &str) -> Result<Matrix, MatrixError> {
        let file: File = serde_json::from_str(text)?;
        let names: Vec<String> = file.data.keys().cloned().collect();
        if names.is_empty() {
            return Err(MatrixError::Empty);
        }
        let cell = |from: &String, to: &String| match file.data[from].get(to).copied() {
            Some(milliseconds) if (0.0..ROUND_TRIP_MAX_MS).contains(&milliseconds) => {
                Ok(Duration::from_secs_f64(milliseconds / 1000.0))
            }
            Some(milliseconds) => Err(MatrixError::Cell { from: from.clone(), to: to.clone(), milliseconds }),
            // Files leave the way from a region to itself out.
            None if from == to => Ok(Duration::ZERO),
            None => Err(MatrixError::Missing { from: from.clone(), to: to.clone() }),
        };
        let round_trips: Result<Vec<Vec<Duration>>, MatrixError> =
            names.iter().map(|from| names.iter().map(|to| cell(from, to)).collect()).collect();
        Ok(Matrix { round_trips: round_trips?, names })
    }

    /// The round trip between two different regions; regions beyond the file's begin anew.
    pub fn between(&self, from: usize, to: usize) -> Duration {
        match self.names.len() {
            0 => DEFAULT_ROUND_TRIP,
            count => self.round_trips[from % count][to % count],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_named_by_its_cell() {
        let good = r#"{"data": {"a": {"b": 10.5}, "b": {"a": 11.0}}}"#;
        let matrix = Matrix::parse(good).expect("of the right form");
        assert_eq!(matrix.between(0, 1), Duration::from_micros(10_500));
        assert_eq!(matrix.between(1, 0), Duration::from_millis(11));
        let refused = |text: &str| Matrix::parse(text).expect_err("a mistake").to_string();
        let negative = refused(r#"{"data": {"a": {"b": -1.0}, "b": {"a": 11.0}}}"#);
        assert!(negative.contains("row a, column b: -1 ms"), "{negative}");
        let missing = refused(r#"{"data": {"a": {}, "b": {"a": 11.0}}}"#);
        assert_eq!(missing, "row a has no column b");
        assert!(refused(r#"{"data": {"a": {"b": "x"}}}"#).contains("line 1"));
        assert_eq!(refused(r#"{"data": {}}"#), "no region in it");
    }
}
