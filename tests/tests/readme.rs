//! README.md names the conformance cases that prove what it promises: they have to exist.

use std::collections::BTreeSet;

use utp_tests::for_each_case;

macro_rules! names {
    (() [$($module:ident::$case:ident)*]) => {
        [$(concat!(stringify!($module), "::", stringify!($case))),*]
    };
}

#[test]
fn every_case_that_the_readme_names_is_in_the_suite() {
    let readme = include_str!("../../README.md");
    let section = readme.split("## From the Node.js API").nth(1).expect("the section");
    let section = section.split("\n## ").next().expect("its end");
    let suite = BTreeSet::from(for_each_case! { names () });
    let rows: Vec<_> = section.lines().filter(|line| line.starts_with("| ")).collect();
    for row in &rows {
        let cases = row.trim_end_matches(" |").rsplit(" | ").next().expect("a column");
        if cases == "conformance case" {
            continue;
        }
        for case in cases.split(", ") {
            let case = case.trim_matches('`');
            assert!(suite.contains(case), "{case}, in {row}");
        }
    }
    assert!(rows.len() > 20, "only {} rows were found", rows.len());
}
