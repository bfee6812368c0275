//! Writes keys into a document and keeps everything else in it, comments and order too.

use toml_edit::{DocumentMut, Item, Table, TableLike, TomlError, value};

/// Returns the document with these keys in the table at `path`, which is created if it does not exist.
///
/// # Errors
/// The document is not TOML.
pub fn with_keys(
    document: &str,
    path: &[&str],
    keys: &[(&str, String)],
) -> Result<String, TomlError> {
    let mut document: DocumentMut = document.parse()?;
    insert(document.as_table_mut(), path, keys);
    Ok(document.to_string())
}

fn insert(table: &mut dyn TableLike, path: &[&str], keys: &[(&str, String)]) {
    let Some((name, rest)) = path.split_first() else {
        for (key, text) in keys {
            table.insert(key, value(text));
        }
        return;
    };
    let new = || {
        let mut table = Table::new();
        // A table that only has tables has no header.
        table.set_implicit(!rest.is_empty());
        Item::Table(table)
    };
    let item = table.entry(name).or_insert_with(new);
    if let Some(table) = item.as_table_like_mut() {
        insert(table, rest, keys);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(document: &str, path: &[&str]) -> String {
        let keys = [
            ("host", "10.0.0.1".to_owned()),
            ("serial", "1\"2".to_owned()),
        ];
        with_keys(document, path, &keys).unwrap()
    }

    #[test]
    fn comments_and_order_stay() {
        let document = "#:schema x\n\n[vpu]   # the robot\nhost = \"old\"  # its address\n# host_key = \"\"\n\n[release]\nname = \"a\" # b\n";
        assert_eq!(
            with(document, &["vpu"]),
            "#:schema x\n\n[vpu]   # the robot\nhost = \"10.0.0.1\"\nserial = '1\"2'\n# host_key = \"\"\n\n[release]\nname = \"a\" # b\n"
        );
        assert_eq!(
            with("[vpus]\na = { host = \"x\" }\n", &["vpus", "a"]),
            "[vpus]\na = { host = \"10.0.0.1\", serial = '1\"2' }\n"
        );
        assert_eq!(
            with("[release]\nname = \"a\"\n", &["vpus", "a b"]),
            "[release]\nname = \"a\"\n\n[vpus.\"a b\"]\nhost = \"10.0.0.1\"\nserial = '1\"2'\n"
        );
        assert!(with_keys("a = ", &[], &[]).is_err());
    }
}
