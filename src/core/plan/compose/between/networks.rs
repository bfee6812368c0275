//! Compares a project's networks with its compose file. docker-compose
//! 1.x refuses some differences in the middle of the switch, and misses
//! others: addresses, and settings that were removed from the file.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::super::address;
use crate::{
    compose,
    desired::{self, Project, ProjectState},
    driver::Driver,
    facts::{self, Container, Pool},
    plan::{
        Action, Address, Cause, Command, Note, NoteCode, Phase, ResourceKind,
        builder::{Builder, Draft},
        obstacle::{BlockCode, Obstacle},
    },
    remote,
    shell::quote,
};

/// Options that docker sets itself; docker-compose does not compare them either.
const OF_DOCKER: [&str; 3] = [
    "com.docker.network.driver.overlay.vxlanid_list",
    "com.docker.network.windowsshim.hnsid",
    "com.docker.network.windowsshim.networkname",
];

/// What differs in a project's networks.
#[derive(Default)]
pub(super) struct Networks<'a> {
    /// Causes of the networks that differ, by ID.
    replaced: BTreeMap<&'a str, Vec<Cause>>,
    /// IDs of all existing networks of the project.
    there: Vec<&'a str>,
    /// Whether docker-compose creates a missing one.
    creates: bool,
}

impl<'a> Networks<'a> {
    pub(super) fn of(builder: &Builder<'a>, project: &Project) -> Self {
        let Some(all) = builder.facts.networks.known() else {
            return Self::default();
        };
        let mut networks = Self::default();
        let own = all
            .iter()
            .filter(|(_, found)| found.project == project.name);
        networks.there.extend(own.map(|(id, _)| id.as_str()));
        for wanted in made_by(project) {
            let Some((id, found)) = find(all, wanted) else {
                networks.creates = true;
                continue;
            };
            let causes = differences(found, &wanted.declared, found.project == project.name);
            if !causes.is_empty() {
                networks.replaced.insert(id, causes);
            }
        }
        networks
    }

    pub(super) fn causes(&self) -> impl Iterator<Item = Cause> {
        self.replaced.values().flatten().cloned()
    }

    /// Whether a container is attached to a network that differs.
    pub(super) fn has(&self, container: &Container) -> bool {
        let mut attached = container.networks.values();
        attached.any(|end| self.replaced.contains_key(end.id.as_str()))
    }

    /// Returns the command that removes the networks that differ.
    pub(super) fn remove(&self) -> Option<Command> {
        let ids = self.replaced.keys().copied();
        (!self.replaced.is_empty()).then(|| Command::new(remote::remove_networks(ids)))
    }

    /// Returns the command that removes networks created since,
    /// so that docker-compose creates the earlier ones again.
    pub(super) fn restore(&self, project: &Project, untouched: bool) -> Option<Command> {
        let keep: &[&str] = if untouched { &self.there } else { &[] };
        let changes = !untouched || self.creates || !self.replaced.is_empty();
        let ids = keep.iter().copied();
        changes.then(|| Command::new(remote::earlier_networks(&project.name, ids)))
    }
}

/// Returns the networks that docker-compose creates for a project.
fn made_by(project: &Project) -> impl Iterator<Item = &desired::Network> {
    let used = project.networks.iter().filter(|network| network.used);
    used.filter(|network| !network.declared.external)
}

/// Returns the existing network that docker-compose uses for a declared one.
fn find<'a>(
    all: &'a BTreeMap<String, facts::Network>,
    wanted: &desired::Network,
) -> Option<(&'a str, &'a facts::Network)> {
    let named = |name: &str| all.iter().find(|(_, found)| found.name == name);
    let older = wanted.older_name.as_deref().and_then(named);
    let found = older.or_else(|| named(&wanted.name));
    found.map(|(id, network)| (id.as_str(), network))
}

/// Returns how a network differs from the compose file. For one of the project's own, settings that
/// were removed from the file count as well, if docker has a default for them.
fn differences(found: &facts::Network, declared: &compose::Network, is_own: bool) -> Vec<Cause> {
    let mut causes = vec![];
    let mut compare = |what: &str, is: &str, wanted: &str| {
        if is != wanted {
            let text = |value: &str| if value.is_empty() { "not set" } else { value }.to_owned();
            let attribute = format!("network {}: {what}", found.name);
            causes.push(Cause::differs(attribute, text(is), text(wanted)));
        }
    };
    let usual = is_own.then_some(&Driver::Bridge);
    if let Some(driver) = declared.driver.as_ref().or(usual) {
        compare("driver", found.driver.as_str(), driver.as_str());
    }
    options("option", &found.options, &declared.options, &mut compare);
    let flag = |value: bool| if value { "yes" } else { "no" };
    if let Some(internal) = declared.internal.or(is_own.then_some(false)) {
        compare("internal", flag(found.internal), flag(internal));
    }
    if let Some(ipv6) = declared.ipv6 {
        compare("IPv6", flag(found.ipv6), flag(ipv6));
    }
    if let Some(driver) = &declared.ipam_driver {
        compare(
            "address driver",
            found.ipam_driver.as_str(),
            driver.as_str(),
        );
    }
    let (there, wanted) = (&found.ipam_options, &declared.ipam_options);
    options("address option", there, wanted, &mut compare);
    pools(&found.pools, &declared.pools, &mut compare);
    causes
}

/// Compares the options that either side has.
fn options(
    what: &str,
    found: &BTreeMap<String, String>,
    declared: &BTreeMap<String, String>,
    compare: &mut impl FnMut(&str, &str, &str),
) {
    let keys: BTreeSet<&String> = found.keys().chain(declared.keys()).collect();
    let keys = keys.into_iter();
    for key in keys.filter(|key| !OF_DOCKER.contains(&key.as_str())) {
        let value = |options: &BTreeMap<String, String>| {
            let value = options.get(key).cloned();
            value.unwrap_or_default()
        };
        compare(&format!("{what} {key}"), &value(found), &value(declared));
    }
}

/// Compares the pools that the file declares; without any, docker chooses.
fn pools(found: &[Pool], declared: &[compose::Pool], compare: &mut impl FnMut(&str, &str, &str)) {
    for wanted in declared {
        let Some(wanted_subnet) = &wanted.subnet else {
            continue;
        };
        let wanted_subnet = subnet(wanted_subnet);
        let same = found
            .iter()
            .find(|pool| subnet(&pool.subnet) == wanted_subnet);
        let Some(pool) = same else {
            // The existing pool that the declared one would replace.
            let is_of_family = |text: &str| text.contains(':') == wanted_subnet.contains(':');
            let is_declared = |pool: &Pool| {
                let subnets = declared.iter().filter_map(|one| one.subnet.as_deref());
                subnets.map(subnet).any(|one| one == subnet(&pool.subnet))
            };
            let others = found.iter().filter(|pool| !is_declared(pool));
            let other = others
                .map(|pool| pool.subnet.as_str())
                .find(|text| is_of_family(text));
            compare("subnet", other.unwrap_or_default(), &wanted_subnet);
            continue;
        };
        if let Some(gateway) = &wanted.gateway {
            compare("gateway", &bare(&pool.gateway), &bare(gateway));
        }
        let range = wanted.range.as_deref().map(subnet).unwrap_or_default();
        let found_range = if pool.range.is_empty() {
            String::new()
        } else {
            subnet(&pool.range)
        };
        compare("ip_range", &found_range, &range);
    }
}

/// Returns a subnet in one canonical spelling, with the host bits cleared.
fn subnet(text: &str) -> String {
    let parse = || {
        let (address, length) = text.trim().split_once('/')?;
        let length: u32 = length.parse().ok()?;
        let address = match address.parse().ok()? {
            IpAddr::V4(address) if length <= 32 => {
                let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from(u32::from(address) & mask))
            }
            IpAddr::V6(address) if length <= 128 => {
                let mask = u128::MAX.checked_shl(128 - length).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from(u128::from(address) & mask))
            }
            IpAddr::V4(_) | IpAddr::V6(_) => return None,
        };
        Some(format!("{address}/{length}"))
    };
    parse().unwrap_or_else(|| text.to_owned())
}

/// Returns an address without the prefix length that some versions of docker append.
fn bare(text: &str) -> String {
    let address = text.split('/').next().unwrap_or_default();
    let parsed = address.parse::<IpAddr>();
    parsed.map_or_else(|_| address.to_owned(), |address| address.to_string())
}

/// Returns an obstacle if the networks cannot be made to match the file.
pub(super) fn unmet(builder: &Builder<'_>, project: &Project) -> Option<Obstacle> {
    let all = builder.facts.networks.known()?;
    missing(builder, project, all)
        .or_else(|| goes(builder, project, all))
        .or_else(|| taken(builder, project, all))
}

/// Returns an obstacle if the project would use a network that goes with another one.
fn goes(
    builder: &Builder<'_>,
    project: &Project,
    all: &BTreeMap<String, facts::Network>,
) -> Option<Obstacle> {
    if project.state == ProjectState::Absent {
        return None;
    }
    let projects = builder.desired.projects.iter();
    let absent = projects.filter(|project| project.state == ProjectState::Absent);
    let absent: BTreeSet<&str> = absent.map(|project| project.name.as_str()).collect();
    let mut used = made_by(project).filter_map(|wanted| find(all, wanted));
    let (_, found) = used.find(|(_, found)| absent.contains(found.project.as_str()))?;
    let (name, other) = (&found.name, &found.project);
    Some(Obstacle::new(
        BlockCode::NetworkDiffers,
        format!("network {name} is of project {other}, which this apply removes with its networks"),
        format!(
            "give this project's network another `name:`, or first apply without project {}, so that the network goes",
            project.name
        ),
    ))
}

/// Returns an obstacle if an external network does not exist.
fn missing(
    builder: &Builder<'_>,
    project: &Project,
    all: &BTreeMap<String, facts::Network>,
) -> Option<Obstacle> {
    let used = project.networks.iter().filter(|network| network.used);
    // A swarm's network is visible only while a container is attached to it.
    let mut expected = used.filter(|network| {
        network.declared.external && network.declared.driver != Some(Driver::Overlay)
    });
    let is_there = |name: &str| {
        all.iter()
            .any(|(id, found)| found.name == name || id == name)
    };
    let network = expected.find(|network| {
        let mut before = builder.desired.projects.iter();
        let mut before = before
            .by_ref()
            .take_while(|other| other.name != project.name);
        let is_made = before.any(|other| makes(other, &network.name));
        !is_there(&network.name) && !is_made
    })?;
    let name = &network.name;
    let later = builder
        .desired
        .projects
        .iter()
        .find(|other| makes(other, name));
    Some(Obstacle::new(
        BlockCode::NetworkMissing,
        format!(
            "network {name}, which the compose file expects (`external: true`), does not exist"
        ),
        match later {
            Some(other) => format!(
                "declare the project {}, which creates it, before this one",
                other.name
            ),
            None => format!(
                "create it on the VPU: docker network create {}",
                quote(name)
            ),
        },
    ))
}

/// Whether docker-compose creates a network of that name for a project.
fn makes(project: &Project, name: &str) -> bool {
    project.state != ProjectState::Absent && made_by(project).any(|made| made.name == name)
}

/// Returns an obstacle if a network that differs belongs to others, or has their containers on it.
fn taken(
    builder: &Builder<'_>,
    project: &Project,
    all: &BTreeMap<String, facts::Network>,
) -> Option<Obstacle> {
    let networks = Networks::of(builder, project);
    let (id, causes) = networks.replaced.iter().next()?;
    let found = all.get(*id)?;
    let name = &found.name;
    let differs = causes.iter().find_map(|cause| match cause {
        Cause::Differs {
            attribute,
            found,
            wanted,
        } => {
            let what = attribute.rsplit(": ").next().unwrap_or_default();
            Some(format!(
                "{what} is {found}, and the compose file says {wanted}"
            ))
        }
        _ => None,
    })?;
    if found.project != project.name {
        let whose = if found.project.is_empty() {
            "was not created by docker-compose".to_owned()
        } else {
            format!("is of project {}", found.project)
        };
        return Some(Obstacle::new(
            BlockCode::NetworkDiffers,
            format!("network {name} differs ({differs}) and {whose}"),
            format!(
                "declare it `external: true`, give this project's another `name:`, or remove it: \
                 docker network rm {}",
                quote(name)
            ),
        ));
    }
    let mut names: Vec<&str> = others(builder, project, id).collect();
    names.sort_unstable();
    if names.is_empty() {
        return None;
    }
    let list = names.join(", ");
    let words: Vec<_> = names.iter().map(|name| quote(name)).collect();
    Some(Obstacle::new(
        BlockCode::NetworkDiffers,
        format!(
            "network {name} differs ({differs}) and cannot be recreated: containers of others are on it: {list}"
        ),
        format!(
            "remove them (docker rm -f {}) or disconnect them from it; apply recreates those that this manifest \
             declares",
            words.join(" ")
        ),
    ))
}

/// Returns the names of the containers on a network that this tool does not stop: those of other
/// projects, and running one-off containers.
fn others<'a>(
    builder: &Builder<'a>,
    project: &'a Project,
    id: &'a str,
) -> impl Iterator<Item = &'a str> {
    let containers = builder.facts.containers.known().into_iter().flatten();
    containers
        .filter(move |(_, container)| container.networks.values().any(|end| end.id == id))
        .filter(|(_, container)| {
            let is_own = container.project == project.name;
            !is_own || (container.one_off && container.runs())
        })
        .map(|(_, container)| container.name.as_str())
}

/// Removes networks that projects no longer declare and that no container uses: docker has room for
/// about thirty networks.
pub(in crate::plan::compose) fn remove_unused(builder: &mut Builder<'_>) {
    let Some(all) = builder.facts.networks.known() else {
        return;
    };
    let desired = builder.desired;
    let is_declared = |name: &str| {
        let networks = desired
            .projects
            .iter()
            .flat_map(|project| &project.networks);
        let mut networks =
            networks.filter(|network| network.used || network.declared.key != "default");
        networks.any(|one| one.name == name || one.older_name.as_deref() == Some(name))
    };
    let mut notes = vec![];
    let present = desired
        .projects
        .iter()
        .filter(|p| p.state != ProjectState::Absent);
    for project in present.filter(|project| !project.services.is_empty()) {
        let compose = address(&project.name);
        if builder.is_blocked_at(&compose) {
            continue;
        }
        let own = all
            .iter()
            .filter(|(_, found)| found.project == project.name);
        for (id, found) in own.filter(|(_, found)| !is_declared(&found.name)) {
            let users: Vec<&str> = others(builder, project, id).collect();
            if !users.is_empty() {
                let text = format!(
                    "network {} of project {} is no longer declared; it stays, because {} uses it",
                    found.name,
                    project.name,
                    users.join(", ")
                );
                notes.push(Note::new(NoteCode::NetworkLeft, text));
                continue;
            }
            let changes = builder.changes(&compose);
            if !found.used_by.is_empty() && !changes {
                continue;
            }
            let network = Address::new(ResourceKind::Network, &found.name);
            let draft = Draft::new(network, Action::Remove, Phase::Settle, Cause::Undeclared);
            let containers = Address::new(ResourceKind::Containers, &project.name);
            let before = [compose.clone(), containers];
            let before = before.into_iter().filter(|step| builder.changes(step));
            let draft = draft.after(before).source(project.source.as_ref());
            builder.step(draft.run([Command::new(remote::remove_networks([id.as_str()]))]));
        }
    }
    builder.notes(notes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::Service, facts::Probed, offers::Offers, testing};

    #[test]
    fn a_subnet_is_compared_without_the_bits_of_a_host() {
        for (written, same) in [
            ("10.0.3.7/8", "10.0.0.0/8"),
            ("10.0.3.7/32", "10.0.3.7/32"),
            ("10.0.3.7/0", "0.0.0.0/0"),
            (" 172.28.1.0/16 ", "172.28.0.0/16"),
            ("FD00:0:0:1::7/32", "fd00::/32"),
            ("fd00:1:2:3:4:5:6:7/64", "fd00:1:2:3::/64"),
            ("fd00::7/128", "fd00::7/128"),
            ("fd00::7/0", "::/0"),
        ] {
            assert_eq!(subnet(written), same, "{written}");
        }
        for unknown in [
            "10.0.3.7/33",
            "fd00::7/129",
            "10.0.3.7",
            "10.0.3.7/x",
            "x/8",
        ] {
            assert_eq!(subnet(unknown), unknown);
        }
    }

    #[test]
    fn a_gateway_is_compared_without_its_prefix_length_and_in_one_spelling() {
        for (written, same) in [
            ("172.28.0.1", "172.28.0.1"),
            ("172.28.0.1/16", "172.28.0.1"),
            ("FD00:0::1/64", "fd00::1"),
            ("a name/16", "a name"),
        ] {
            assert_eq!(bare(written), same, "{written}");
        }
    }

    #[test]
    fn an_external_network_is_missing_unless_docker_has_it_by_name_or_id() {
        let external = |name: &str| desired::Network {
            name: name.into(),
            older_name: None,
            used: true,
            declared: compose::Network {
                key: name.into(),
                external: true,
                ..compose::Network::default()
            },
        };
        let project = Project {
            networks: vec![external("theirs")],
            ..testing::project("app", [])
        };
        let (desired, observed) = (testing::desired(vec![]), testing::observed());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let is_missing = |id: &str, name: &str| {
            let network = facts::Network {
                name: name.into(),
                ..facts::Network::default()
            };
            missing(&builder, &project, &[(id.to_owned(), network)].into()).is_some()
        };
        assert!(is_missing("n1", "other"));
        assert!(!is_missing("n1", "theirs"));
        assert!(!is_missing("theirs", "other"));
    }

    #[test]
    fn a_default_network_that_no_service_uses_any_more_is_removed() {
        let is_removed = |key: &str, used: bool| {
            let mut project = testing::project("app", [("main", Service::default())]);
            project.networks = vec![desired::Network {
                name: "app_net".into(),
                older_name: None,
                used,
                declared: compose::Network {
                    key: key.into(),
                    ..compose::Network::default()
                },
            }];
            let desired = testing::desired(vec![project]);
            let mut observed = testing::observed();
            let there = facts::Network {
                name: "app_net".into(),
                project: "app".into(),
                ..facts::Network::default()
            };
            observed.facts.networks = Probed::Known([("n1".to_owned(), there)].into());
            let offers = Offers::default();
            let mut builder = Builder::new(&desired, &observed, &offers);
            remove_unused(&mut builder);
            !builder.finish("host").steps.is_empty()
        };
        assert!(is_removed("default", false));
        assert!(!is_removed("default", true));
        assert!(!is_removed("net", false), "it is declared");
    }

    #[test]
    fn a_restore_keeps_the_networks_that_the_project_has() {
        let network = |project: &str| facts::Network {
            name: format!("{project}_front"),
            project: project.into(),
            ..facts::Network::default()
        };
        let (desired, mut observed) = (testing::desired(vec![]), testing::observed());
        let there = [("n1", "app"), ("n2", "other")];
        let there = there.map(|(id, project)| (id.to_owned(), network(project)));
        observed.facts.networks = Probed::Known(there.into());
        let offers = Offers::default();
        let builder = Builder::new(&desired, &observed, &offers);
        let networks = Networks::of(&builder, &testing::project("app", []));
        assert_eq!(networks.there, ["n1"]);
    }
}
