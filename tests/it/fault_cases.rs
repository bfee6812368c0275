//! The list of cases of update clients names tests that exist.

#[test]
fn every_case_has_a_test() {
    let page = std::fs::read_to_string("benches/FAULTS.md").unwrap();
    let (_, cases) = page.split_once("## The cases").unwrap();
    let rows = cases.lines().filter(|line| line.starts_with("| "));
    let names: Vec<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(names.len(), 15, "{names:?}");
    for name in names {
        let (module, function) = name.split_once("::").unwrap();
        let source = std::fs::read_to_string(format!("tests/twin/{module}.rs")).unwrap();
        assert!(
            source.contains(&format!("#[test]\nfn {function}()")),
            "{name}"
        );
    }
}
