//! The public futures of a crate, read from its sources: functions that are `async`, return a future or poll, of public
//! types and by themselves, also where macros make them; and implementations of traits that poll.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::ToTokens;
use syn::parse::{ParseStream, Parser};
use syn::{ImplItem, Item, ItemFn, ItemImpl, ItemMacro, Signature, Type, Visibility};

/// Type and method, or function, each without `poll_`.
pub(super) fn futures(krate: &str) -> BTreeSet<String> {
    let mut found = Found::default();
    for shared in [krate, "utp-driver"] {
        for file in files(shared) {
            found.note_macros(&file.items);
        }
    }
    for file in files(krate) {
        found.note_items(file.items);
    }
    let Found { types, futures, .. } = found;
    let public = |(of, name): (Option<String>, String)| match of {
        Some(of) => types.contains(&of).then(|| format!("{of}::{name}")),
        None => Some(name),
    };
    futures.into_iter().filter_map(public).collect()
}

fn files(krate: &str) -> Vec<syn::File> {
    let mut paths = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(krate).join("src")];
    let mut files = Vec::new();
    while let Some(path) = paths.pop() {
        if path.is_dir() {
            paths.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push(syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        }
    }
    assert!(!files.is_empty(), "{krate} has no sources");
    files
}

#[derive(Default)]
struct Found {
    /// Those with `pub`.
    types: BTreeSet<String>,
    /// Of a type or by themselves.
    futures: BTreeSet<(Option<String>, String)>,
    macros: BTreeMap<String, Rule>,
}

impl Found {
    fn note_macros(&mut self, items: &[Item]) {
        for item in items {
            match item {
                Item::Macro(ItemMacro { ident: Some(name), mac, .. }) => {
                    self.macros.insert(name.to_string(), Rule::of(mac.tokens.clone()));
                }
                Item::Mod(module) => {
                    self.note_macros(module.content.as_ref().map_or(&[], |(_, items)| items))
                }
                _ => {}
            }
        }
    }

    fn note_items(&mut self, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Struct(item) if is_public(&item.vis) => drop(self.types.insert(item.ident.to_string())),
                Item::Enum(item) if is_public(&item.vis) => drop(self.types.insert(item.ident.to_string())),
                Item::Fn(ItemFn { vis, sig, .. }) if is_public(&vis) && is_future(&sig) => {
                    self.futures.insert((None, name(&sig)));
                }
                Item::Impl(item) => self.note_impl(item),
                Item::Mod(module) => self.note_items(module.content.map_or(Vec::new(), |(_, items)| items)),
                Item::Macro(ItemMacro { ident: None, mac, .. }) => {
                    if let Some(body) = self.expand(&mac) {
                        self.note_items(syn::parse2::<syn::File>(body).expect("items").items);
                    }
                }
                _ => {}
            }
        }
    }

    fn note_impl(&mut self, item: ItemImpl) {
        let of = type_name(&item.self_ty);
        let implements = item.trait_.map(|(_, path, _)| path.segments.last().unwrap().ident.to_string());
        for member in item.items {
            match member {
                ImplItem::Fn(method) => {
                    let counts = match implements.as_deref() {
                        None => is_public(&method.vis) && is_future(&method.sig),
                        Some(_) => is_future(&method.sig) || method.sig.ident == "poll",
                    };
                    if counts {
                        let name = name(&method.sig);
                        // Of `AsyncWrite`, which is one of tokio's and one of futures-io's.
                        let is_end = implements.as_deref() == Some("AsyncWrite") && name == "close";
                        let name = if is_end { "shutdown".to_owned() } else { name };
                        self.futures.insert((Some(of.clone()), name));
                    }
                }
                ImplItem::Macro(call) => {
                    let body = self.expand(&call.mac).expect("a macro of the driver's");
                    let ty = &item.self_ty;
                    self.note_impl(syn::parse_quote! { impl #ty { #body } });
                }
                _ => {}
            }
        }
    }

    fn expand(&self, call: &syn::Macro) -> Option<TokenStream> {
        let name = call.path.segments.last()?.ident.to_string();
        Some(self.macros.get(&name)?.expand(call.tokens.clone()))
    }
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_future(sig: &Signature) -> bool {
    let output = sig.output.to_token_stream().to_string();
    let takes_context = sig.inputs.to_token_stream().to_string().contains("Context");
    sig.asyncness.is_some() || output.contains("Future") || (takes_context && output.contains("Poll"))
}

fn name(sig: &Signature) -> String {
    let name = sig.ident.to_string();
    name.strip_prefix("poll_").map_or(name.clone(), str::to_owned)
}

fn type_name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().unwrap().ident.to_string(),
        Type::Reference(reference) => type_name(&reference.elem),
        other => other.to_token_stream().to_string(),
    }
}

/// A macro of one rule, in which one thing may be repeated: all that the adapters use.
struct Rule {
    matcher: TokenStream,
    body: TokenStream,
}

impl Rule {
    fn of(tokens: TokenStream) -> Self {
        let groups: Vec<Group> = tokens
            .into_iter()
            .filter_map(|token| if let TokenTree::Group(group) = token { Some(group) } else { None })
            .collect();
        Self { matcher: groups[0].stream(), body: groups[1].stream() }
    }

    fn expand(&self, call: TokenStream) -> TokenStream {
        let bind = |input: ParseStream<'_>| {
            let mut bound = BTreeMap::new();
            bind(self.matcher.clone(), input, &mut bound)?;
            Ok(bound)
        };
        let bound = bind.parse2(call).expect("a call that fits the rule");
        transcribe(self.body.clone(), &bound, 0)
    }
}

type Bound = BTreeMap<String, Vec<TokenStream>>;

fn bind(matcher: TokenStream, input: ParseStream<'_>, bound: &mut Bound) -> syn::Result<()> {
    let mut tokens = matcher.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(repeated)) => {
                    while !input.is_empty() {
                        bind(repeated.stream(), input, bound)?;
                        let _comma: Option<syn::Token![,]> = input.parse()?;
                    }
                    return Ok(());
                }
                Some(TokenTree::Ident(name)) => {
                    let fragment = tokens.nth(1).expect("a fragment").to_string();
                    let value = match fragment.as_str() {
                        "ty" => input.parse::<Type>()?.to_token_stream(),
                        _ => input.parse::<syn::Ident>()?.to_token_stream(),
                    };
                    bound.entry(name.to_string()).or_default().push(value);
                }
                other => panic!("{other:?} after a dollar"),
            },
            _ => drop(input.parse::<TokenTree>()?),
        }
    }
    Ok(())
}

/// What of a body comes of it the `turn`th time around.
fn transcribe(body: TokenStream, bound: &Bound, turn: usize) -> TokenStream {
    let mut out = TokenStream::new();
    let mut tokens = body.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == '$' => match tokens.next() {
                Some(TokenTree::Group(repeated)) if repeated.delimiter() == Delimiter::Parenthesis => {
                    while tokens.next_if(|token| token.to_string() != "*").is_some() {}
                    tokens.next();
                    let turns = bound.values().map(Vec::len).max().unwrap_or(0);
                    out.extend((0..turns).map(|turn| transcribe(repeated.stream(), bound, turn)));
                }
                Some(TokenTree::Ident(name)) => match bound.get(&name.to_string()) {
                    Some(values) => out.extend(values[turn.min(values.len() - 1)].clone()),
                    None => out.extend([TokenTree::Ident(name)]), // `$crate`
                },
                other => panic!("{other:?} after a dollar"),
            },
            TokenTree::Group(group) => {
                let inner = transcribe(group.stream(), bound, turn);
                out.extend([TokenTree::Group(Group::new(group.delimiter(), inner))]);
            }
            other => out.extend([other]),
        }
    }
    out
}
