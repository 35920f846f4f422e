//! Advice of `perennial check --against-running`: the fields that need an index, by the lists that the daemon was asked for.

use super::{Exit, admin_client, complain, say};

/// The counter of lists for which a whole resource was read.
const COUNTER: &str = "perennial_storage_scans_total{resource=\"";

/// Prints the advice of the daemon at `admin`.
pub(super) fn run(admin: &str) -> Exit {
    let metrics = match admin_client::get(admin, "/metrics") {
        Ok(metrics) => metrics,
        Err(error) => return complain(&error, error.exit()),
    };
    advice(&String::from_utf8_lossy(&metrics))
        .iter()
        .for_each(say);
    Exit::Ok
}

/// A line for each field of a resource by which lists were filtered or sorted without an index.
fn advice(metrics: &str) -> Vec<String> {
    let counted = metrics.lines().filter_map(|line| {
        let (resource, rest) = line.strip_prefix(COUNTER)?.split_once("\",field=\"")?;
        let (field, count) = rest.split_once("\"} ")?;
        // Of fields that are not declared, the daemon does not keep the names.
        let index = match field {
            "other" => "an index of the field".to_owned(),
            field => format!("index = [{field:?}]"),
        };
        Some(format!(
            "resource.{resource}: since the start, {count} lists were answered by reading all records; {index} may make that unnecessary (an advice)"
        ))
    });
    counted.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_without_an_index_is_advised() {
        let metrics = "# TYPE perennial_storage_scans counter\n\
            perennial_storage_scans_total{resource=\"books\",field=\"year\"} 12\n\
            perennial_storage_scans_total{resource=\"films\",field=\"other\"} 1\n\
            perennial_storage_queries_total{plan=\"scan\"} 13\n";
        let told = advice(metrics);
        assert_eq!(told.len(), 2);
        assert!(told[0].starts_with("resource.books: since the start, 12 lists"));
        assert!(told[0].contains("index = [\"year\"]"));
        assert!(told[1].contains("an index of the field"));
    }
}
