//! Checks the library's public interface: the names that
//! `src/lib.rs` exports, and the items of each of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use quote::ToTokens as _;
use syn::{Fields, ImplItem, Item, ReturnType, TraitItem, UseTree, Visibility};

/// The sources whose items the library exports.
const SOURCES: [&str; 3] = ["src", "src/core", "src/transfer"];

/// The items of each exported name, one for each line.
type Offers = BTreeMap<String, BTreeSet<String>>;

/// The exported names, by module and by the name where they are declared.
type Exported = BTreeMap<(String, String), String>;

#[test]
fn what_programs_may_use_is_the_committed_list() {
    let exported = exported();
    let mut offers: Offers = exported
        .values()
        .map(|name| (name.clone(), BTreeSet::new()))
        .collect();
    for source in SOURCES {
        for entry in walk(source) {
            let text = fs_err::read_to_string(&entry).unwrap();
            let file = syn::parse_file(&text).unwrap();
            let module = entry.strip_prefix(source).unwrap().iter().next().unwrap();
            let module = module.to_str().unwrap().trim_end_matches(".rs");
            items(&file.items, module, &exported, &mut offers);
        }
    }
    let mut list = String::new();
    for (name, lines) in offers {
        assert!(!lines.is_empty(), "{name} is not found in the sources");
        let _ = writeln!(list, "{name}");
        for line in lines {
            let _ = writeln!(list, "    {line}");
        }
    }
    let _ = writeln!(list, "mentioned, and not exported: {}", foreign(&list));
    insta::assert_snapshot!(list);
}

/// Returns this project's types that signatures mention and programs cannot name.
fn foreign(list: &str) -> String {
    let names = list.lines().filter(|line| !line.starts_with(' '));
    let names: BTreeSet<&str> = names.filter_map(|name| name.rsplit("::").next()).collect();
    // Single letters are type parameters; the rest is from the standard library and from well-known
    // crates, but for `Options`, which is exported as `LoadOptions`.
    let known = "Arc Box BTreeMap BTreeSet Err Error FnOnce Fn FnMut Future Into AsRef Iterator Ok Option Result Self Send Some \
                 Static String Sync Vec Utf8Path Utf8PathBuf Display Duration Range AsyncRead AsyncWrite Unpin Pin Stderr \
                 Unknown Deserialize Serialize Mutex Receiver Child ChildStdin IntoIterator Item OsString \
                 SystemTime Read Write Options";
    let known: BTreeSet<&str> = known.split_whitespace().collect();
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let lines = list.lines().filter(|line| line.starts_with(' '));
    // A variant's or a function's own name is not a mention.
    let mentioned = lines.flat_map(|line| {
        let types = line
            .split_once(['{', '(', ':'])
            .map_or("", |(_, rest)| rest);
        types.split(move |c| !is_word(c))
    });
    let foreign: BTreeSet<&str> = mentioned
        .filter(|word| word.len() > 1 && word.starts_with(char::is_uppercase))
        .filter(|word| !names.contains(word) && !known.contains(word))
        .collect();
    foreign.into_iter().collect::<Vec<_>>().join(" ")
}

/// Returns the sources below a folder; `src` includes those of other crates.
fn walk(folder: &str) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    let mut folders = vec![std::path::PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let is_crate = SOURCES.iter().any(|source| path.ends_with(source));
            if path.is_dir() && !is_crate {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found
}

fn exported() -> Exported {
    let transfer = uses("src/transfer/lib.rs");
    let found = uses("src/lib.rs")
        .into_iter()
        .map(|((module, name), called)| {
            // An item that the root of another crate exports is declared in one of its modules.
            let declared = transfer.keys().find(|(_, other)| *other == name);
            match declared {
                Some(declared) if module.is_empty() => (declared.clone(), called),
                _ => ((module, name), called),
            }
        });
    found.collect()
}

/// Returns the exports of a crate's root.
fn uses(root: &str) -> Exported {
    let file = syn::parse_file(&fs_err::read_to_string(root).unwrap()).unwrap();
    let mut names = BTreeMap::new();
    for item in &file.items {
        match item {
            Item::Use(item) if is_public(&item.vis) => leaves(&item.tree, "", &mut names),
            // `internal` makes no promise.
            Item::Mod(item) if is_public(&item.vis) && item.ident != "internal" => {
                let mut inner = BTreeMap::new();
                for item in item.content.iter().flat_map(|(_, items)| items) {
                    if let Item::Use(item) = item {
                        leaves(&item.tree, "", &mut inner);
                    }
                }
                let inner = inner.into_iter();
                names.extend(inner.map(|(key, name)| (key, format!("{}::{name}", item.ident))));
            }
            _ => {}
        }
    }
    names
}

/// `module`: the first one below the crate.
fn leaves(tree: &UseTree, module: &str, names: &mut Exported) {
    let mut insert = |name: &syn::Ident, called: &syn::Ident| {
        let key = (module.to_owned(), name.to_string());
        names.insert(key, called.to_string());
    };
    match tree {
        UseTree::Path(path) => {
            let name = path.ident.to_string();
            let is_crate = ["crate", "self"].contains(&name.as_str()) || name.starts_with("o3r_");
            let module = if module.is_empty() && !is_crate {
                name.as_str()
            } else {
                module
            };
            leaves(&path.tree, module, names);
        }
        UseTree::Group(group) => {
            let trees = group.items.iter();
            trees.for_each(|tree| leaves(tree, module, names));
        }
        UseTree::Name(name) => insert(&name.ident, &name.ident),
        UseTree::Rename(rename) => insert(&rename.ident, &rename.rename),
        UseTree::Glob(_) => panic!("a list has no globs"),
    }
}

fn items(items: &[Item], module: &str, exported: &Exported, offers: &mut Offers) {
    for item in items {
        let (name, lines) = match item {
            Item::Struct(item) if is_public(&item.vis) => {
                let mut lines = vec!["struct".to_owned()];
                for field in fields(&item.fields) {
                    lines.push(format!("pub {field}"));
                }
                (item.ident.to_string(), lines)
            }
            Item::Enum(item) if is_public(&item.vis) => {
                let variants = item.variants.iter();
                let variants =
                    variants.map(|variant| format!("{}{}", variant.ident, spaced(&variant.fields)));
                let lines = std::iter::once("enum".to_owned()).chain(variants);
                (item.ident.to_string(), lines.collect())
            }
            Item::Trait(item) if is_public(&item.vis) => {
                let functions = item.items.iter().filter_map(|item| match item {
                    TraitItem::Fn(function) => Some(signature(&function.sig)),
                    _ => None,
                });
                let lines = std::iter::once("trait".to_owned()).chain(functions);
                (item.ident.to_string(), lines.collect())
            }
            Item::Type(item) if is_public(&item.vis) => {
                let line = format!("type {}", tokens(&item.ty));
                (item.ident.to_string(), vec![line])
            }
            Item::Fn(item) if is_public(&item.vis) => {
                (item.sig.ident.to_string(), vec![signature(&item.sig)])
            }
            Item::Impl(item) if item.trait_.is_none() => {
                let functions = item.items.iter().filter_map(|item| match item {
                    ImplItem::Fn(function) if is_public(&function.vis) => {
                        Some(signature(&function.sig))
                    }
                    _ => None,
                });
                let target = item.self_ty.to_token_stream().to_string();
                let target = target.split(' ').next().unwrap_or_default().to_owned();
                (target, functions.collect())
            }
            Item::Macro(item) if item.mac.path.segments.last().unwrap().ident == "codes" => {
                let text = item.mac.tokens.to_string();
                let name = text.split("enum ").nth(1).unwrap_or_default();
                let name = name.split(' ').next().unwrap_or_default().to_owned();
                (name, vec!["enum of codes: see docs/errors.md".to_owned()])
            }
            Item::Macro(item) if item.mac.path.is_ident("word") => {
                let text = item.mac.tokens.to_string();
                // Its documentation comes first, in brackets.
                let is_name = |word: &&str| {
                    word.starts_with(char::is_uppercase) && word.chars().all(char::is_alphanumeric)
                };
                let words = text.split(']').filter_map(|rest| rest.split(',').next());
                let name = words.map(str::trim).find(is_name);
                let name = name.unwrap_or_default().to_owned();
                (
                    name,
                    vec!["a word: parsed from text, shown as it was written".to_owned()],
                )
            }
            Item::Mod(item) => {
                let is_test = item.attrs.iter().any(|a| a.path().is_ident("cfg"));
                if let Some((_, content)) = item.content.as_ref().filter(|_| !is_test) {
                    self::items(content, module, exported, offers);
                }
                continue;
            }
            _ => continue,
        };
        let key = (module.to_owned(), name);
        if let Some(offer) = exported.get(&key).and_then(|name| offers.get_mut(name)) {
            offer.extend(lines);
        }
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn fields(fields: &Fields) -> Vec<String> {
    let public = fields.iter().filter(|field| is_public(&field.vis));
    public
        .map(|field| {
            let name = field.ident.as_ref().map(ToString::to_string);
            format!("{}: {}", name.unwrap_or_default(), tokens(&field.ty))
        })
        .collect()
}

/// Returns the fields of a variant, by name and type.
fn spaced(fields: &Fields) -> String {
    let shown: Vec<String> = fields
        .iter()
        .map(|field| match &field.ident {
            Some(name) => format!("{name}: {}", tokens(&field.ty)),
            None => tokens(&field.ty),
        })
        .collect();
    match fields {
        Fields::Unit => String::new(),
        Fields::Named(_) => format!(" {{ {} }}", shown.join(", ")),
        Fields::Unnamed(_) => format!("({})", shown.join(", ")),
    }
}

fn signature(signature: &syn::Signature) -> String {
    let asynchronous = if signature.asyncness.is_some() {
        "async "
    } else {
        ""
    };
    let inputs: Vec<String> = signature.inputs.iter().map(tokens).collect();
    let output = match &signature.output {
        ReturnType::Default => String::new(),
        ReturnType::Type(_, output) => format!(" -> {}", tokens(output)),
    };
    let generics = tokens(&signature.generics);
    format!(
        "{asynchronous}fn {}{generics}({}){output}",
        signature.ident,
        inputs.join(", ")
    )
}

/// Returns tokens with conventional spacing.
fn tokens(tokens: &impl quote::ToTokens) -> String {
    let text = tokens.to_token_stream().to_string();
    let mut out = text;
    for (from, to) in [
        (" :: ", "::"),
        (" < ", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        ("& ", "&"),
        (" :", ":"),
        ("' ", "'"),
        ("( ", "("),
        (" )", ")"),
        (" (", "("),
    ] {
        out = out.replace(from, to);
    }
    out
}
