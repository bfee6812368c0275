//! Docker's program on an in-memory VPU: its output and exit codes, as of 20.10, for the calls that
//! the scripts of [`o3r_deploy::internal::remote`] make.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use super::{
    commands::{Ran, fail},
    docker::Wanted,
    output,
    world::{Container, Image, Mount, Volume, World},
};
use o3r_deploy::internal::host::Output;

/// The exit code for an unknown call: no script may mistake it for an answer.
const UNKNOWN: i32 = 125;

/// Runs docker with these words.
pub fn docker(world: &mut World, words: &[&str]) -> Output {
    let ran = match words {
        ["container", words @ ..] => container(world, words),
        ["volume", words @ ..] => volume(world, words),
        ["network", words @ ..] => network(world, words),
        ["image", words @ ..] => image(world, words),
        ["logs", "--tail", "20", _] => return output(0, "its last words\n", ""),
        _ => unknown(words),
    };
    ran.unwrap_or_else(|(code, stderr)| output(code, "", &stderr))
}

/// The output, or the exit code and error if something failed.
type Printed = Result<Output, (i32, String)>;

fn unknown(words: &[&str]) -> Printed {
    Err((UNKNOWN, format!("docker {words:?}: not understood")))
}

fn container(world: &mut World, words: &[&str]) -> Printed {
    match words {
        ["ls", words @ ..] => {
            let asked = Asked::of(words)?;
            let meant = world.newest(|container| asked.wants(container));
            let lines = meant.iter().map(|id| {
                let name = &world.containers[id].name;
                let fields = [("{{.ID}}", id.as_str()), ("{{.Names}}", name)];
                asked.line(id, &fields)
            });
            Ok(printed(&lines.collect::<Result<String, _>>()?))
        }
        ["inspect", "--format", format, ids @ ..] => inspect(ids, format, |id| {
            Some(container_fields(id, world.containers.get(id)?))
        }),
        ["stop", "--time", _, ids @ ..] | ["stop", ids @ ..] => {
            Ok(each(ids, |id| world.stop_container(id)))
        }
        ["start", ids @ ..] => Ok(each(ids, |id| world.start_container(id))),
        ["rm", "-f" | "--force", ids @ ..] => Ok(each(ids, |id| world.remove_container(id))),
        ["rename", id, name] => Ok(each(&[id], |id| world.rename_container(id, name))),
        ["update", policy, ids @ ..] => match policy.strip_prefix("--restart=") {
            Some(policy) => Ok(each(ids, |id| world.update_restart_policy(&[id], policy))),
            None => unknown(words),
        },
        ["create", words @ ..] => create(world, words),
        _ => unknown(words),
    }
}

fn create(world: &mut World, mut words: &[&str]) -> Printed {
    let mut wanted = Wanted::default();
    loop {
        words = match words {
            ["--network", mode, rest @ ..] => {
                (*mode).clone_into(&mut wanted.network_mode);
                rest
            }
            ["--volume", volume, rest @ ..] => {
                let (name, at) = volume.split_once(':').unwrap_or((volume, ""));
                wanted.volumes.insert(at.to_owned(), name.to_owned());
                rest
            }
            ["--mount", mount, rest @ ..] => {
                let path = mount.strip_prefix("type=tmpfs,\"destination=");
                let Some(path) = path.and_then(|path| path.strip_suffix('"')) else {
                    return unknown(words);
                };
                wanted.in_memory.push(path.to_owned());
                rest
            }
            ["--label", label, rest @ ..] => {
                let (name, value) = label.split_once('=').unwrap_or((label, ""));
                wanted.labels.insert(name.to_owned(), value.to_owned());
                rest
            }
            [image, _command] if !image.starts_with('-') => {
                (*image).clone_into(&mut wanted.image);
                let id = world.create_container(wanted)?;
                return Ok(printed(&format!("{id}\n")));
            }
            _ => return unknown(words),
        };
    }
}

fn volume(world: &mut World, words: &[&str]) -> Printed {
    match words {
        ["ls", "-q"] => {
            let names = world.volumes.keys();
            Ok(printed(&lines(names)))
        }
        ["inspect", "--format", format, names @ ..] => inspect(names, format, |name| {
            Some(volume_fields(world.volumes.get(name)?))
        }),
        ["rm", names @ ..] => Ok(each(names, |name| world.remove_volume(name))),
        ["create", "--driver", "local", words @ ..] => {
            let (mut words, mut options, mut owner) = (words, BTreeMap::new(), None);
            while let [flag @ ("--opt" | "--label"), word, rest @ ..] = words {
                let (name, value) = word.split_once('=').unwrap_or((word, ""));
                if *flag == "--opt" {
                    options.insert(name.to_owned(), value.to_owned());
                } else {
                    owner = Some(value.to_owned());
                }
                words = rest;
            }
            let [name] = words else {
                return unknown(words);
            };
            world.create_volume(name, options, owner);
            Ok(printed(&format!("{name}\n")))
        }
        _ => unknown(words),
    }
}

fn network(world: &mut World, words: &[&str]) -> Printed {
    match words {
        ["ls", words @ ..] => {
            let asked = Asked::of(words)?;
            let mut meant: Vec<_> = world.networks.iter().collect();
            meant.retain(|(_, network)| {
                let mut labels = asked.labels.iter();
                let project = network.project.as_str();
                labels.all(|label| *label == ("com.docker.compose.project", project))
            });
            meant.sort_by_key(|(_, network)| &network.name);
            let lines = meant.into_iter().map(|(id, network)| {
                let fields = [("{{.ID}}", id.as_str()), ("{{.Name}}", &network.name)];
                asked.line(id, &fields)
            });
            Ok(printed(&lines.collect::<Result<String, _>>()?))
        }
        ["inspect", "--format", format, ids @ ..] => inspect(ids, format, |id| {
            let network = world.networks.get(id)?;
            Some(vec![("{{.Name}}", network.name.clone())])
        }),
        ["rm", ids @ ..] => Ok(each(ids, |id| world.remove_network(id))),
        _ => unknown(words),
    }
}

fn image(world: &mut World, words: &[&str]) -> Printed {
    match words {
        ["ls", "-q"] => {
            let ids = world.images.keys();
            Ok(printed(&lines(ids)))
        }
        ["ls", "--format", "{{.Repository}}:{{.Tag}}"] => {
            let names = world.images.values().flat_map(|image| &image.tags);
            Ok(printed(&lines(names)))
        }
        ["inspect", "--format", format, names @ ..] => inspect(names, format, |name| {
            let id = world.image_id(name)?;
            Some(image_fields(&id, &world.images[&id]))
        }),
        ["rm", "--no-prune", "--", names @ ..] | ["rm", "--no-prune", names @ ..] => {
            Ok(each(names, |name| world.untag_image(name)))
        }
        ["tag", image, name] => Ok(each(&[image], |image| world.tag_image(image, name))),
        _ => unknown(words),
    }
}

fn printed(stdout: &str) -> Output {
    output(0, stdout, "")
}

fn lines<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.flat_map(|name| [name, "\n"]).collect()
}

/// Changes each of them, and fails if any change fails.
fn each(names: &[&str], mut change: impl FnMut(&str) -> Ran) -> Output {
    let mut all = output(0, "", "");
    for name in names {
        match change(name) {
            Ok(_) => all.stdout.extend(format!("{name}\n").bytes()),
            Err((code, words)) => {
                all.code = code;
                all.stderr.extend(format!("Error: {words}\n").bytes());
            }
        }
    }
    all
}

/// The fields that a template may refer to, and their values.
type Fields = Vec<(&'static str, String)>;

fn inspect(names: &[&str], format: &str, find: impl Fn(&str) -> Option<Fields>) -> Printed {
    let mut all = output(0, "", "");
    for name in names {
        let Some(fields) = find(name) else {
            all.code = 1;
            all.stderr
                .extend(format!("Error: No such object: {name}\n").bytes());
            continue;
        };
        let fields = fields.iter().map(|(field, text)| (*field, text.as_str()));
        let fields: Vec<(&str, &str)> = fields.collect();
        all.stdout.extend(render(format, &fields)?.bytes());
    }
    if all.stdout.is_empty() {
        all.stdout.push(b'\n');
    }
    Ok(all)
}

/// Renders a template, with a line end.
fn render(format: &str, fields: &[(&str, &str)]) -> Ran {
    let (mut rest, mut text) = (format, String::new());
    while let Some(at) = rest.find("{{") {
        text.push_str(&rest[..at]);
        let mut known = fields.iter();
        let known = known.find_map(|(field, value)| {
            let rest = rest[at..].strip_prefix(field)?;
            Some((rest, value))
        });
        let Some((after, value)) = known else {
            return Err((UNKNOWN, format!("template: {rest}: not understood")));
        };
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    text.push('\n');
    Ok(text)
}

/// The template of health checks in `wait-healthy.sh`.
const HEALTH: &str = "{{if .State.Health}}{{.State.Health.Status}} /{{range .State.Health.Log}}{{.Start.UnixNano}}/\
    {{if ge (.Start.UTC.Format \"2006-01-02T15:04:05.999999999Z07:00\") $start}}fresh/{{end}}{{end}}{{else}}none /{{end}}";
const HEALTH_TIMES: &str = "{{if .State.Health}}{{with .Config.Healthcheck}}\
    {{printf \"%d %d %d %d\" .StartPeriod .Interval .Timeout .Retries}}{{end}}{{end}}";
const LAST_HEALTH_CHECK: &str = "{{if .State.Health}}{{range .State.Health.Log}}\
    {{.ExitCode}} {{json .Output}}{{println}}{{end}}{{end}}";

fn container_fields(id: &str, container: &Container) -> Fields {
    let labels = container.labels();
    let label = |name: &str| {
        let value = labels.get(&format!("com.docker.compose.{name}"));
        value.cloned().unwrap_or_default()
    };
    let mut volumes = String::new();
    for (at, mount) in &container.details.mounts {
        if let Mount::Volume(name) = mount {
            let _ = writeln!(volumes, "{name} {at}");
        }
    }
    let mut all_labels = String::new();
    for (name, value) in &labels {
        let _ = writeln!(all_labels, "{name}={value}");
    }
    let policy = container.restart_policy.split(':').next();
    vec![
        (
            "{{range .Mounts}}{{if eq .Type \"volume\"}}{{.Name}} {{.Destination}}{{println}}{{end}}{{end}}",
            volumes,
        ),
        (
            "{{range $key, $value := .Config.Labels}}{{$key}}={{$value}}{{println}}{{end}}",
            all_labels,
        ),
        (
            "{{index .Config.Labels \"com.docker.compose.project\"}}",
            label("project"),
        ),
        (
            "{{index .Config.Labels \"com.docker.compose.service\"}}",
            label("service"),
        ),
        // For a container without a health check.
        (HEALTH, "none /".to_owned()),
        (HEALTH_TIMES, String::new()),
        (LAST_HEALTH_CHECK, String::new()),
        ("{{$start := .State.StartedAt}}", String::new()),
        ("{{$start}}", "2026-01-01T00:00:00Z".to_owned()),
        ("{{.ID}}", id.to_owned()),
        ("{{.Name}}", format!("/{}", container.name)),
        ("{{.Image}}", container.image.clone()),
        // No container is restarted between two looks.
        ("{{.RestartCount}}", "0".to_owned()),
        ("{{.State.Running}}", container.is_up().to_string()),
        ("{{.State.Status}}", container.status.clone()),
        (
            "{{.State.ExitCode}}",
            container.details.exit_code.to_string(),
        ),
        (
            "{{or .HostConfig.RestartPolicy.Name \"no\"}}",
            policy
                .filter(|policy| !policy.is_empty())
                .unwrap_or("no")
                .to_owned(),
        ),
        ("{{.State.OOMKilled}}", "false".to_owned()),
    ]
}

fn volume_fields(volume: &Volume) -> Fields {
    let mut all = String::new();
    for (key, value) in &volume.options {
        let _ = write!(all, "{key}={value};");
    }
    let device = volume.options.get("device");
    let nothing = || "<no value>".to_owned();
    vec![
        (
            "{{range $key, $value := .Options}}{{$key}}={{$value}};{{end}}",
            all,
        ),
        ("{{.Driver}}", "local".to_owned()),
        (
            "{{.Options.device}}",
            device.cloned().unwrap_or_else(nothing),
        ),
    ]
}

fn image_fields(id: &str, image: &Image) -> Fields {
    vec![
        (
            "{{range $path, $_ := .Config.Volumes}}{{println $path}}{{end}}",
            lines(image.volumes.iter()),
        ),
        ("{{.Id}}", id.to_owned()),
        ("{{.ID}}", id.to_owned()),
    ]
}

/// The parameters of a list.
#[derive(Debug, Default)]
struct Asked<'a> {
    all: bool,
    format: Option<&'a str>,
    labels: BTreeSet<(&'a str, &'a str)>,
    networks: BTreeSet<&'a str>,
    volumes: BTreeSet<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(mut words: &[&'a str]) -> Result<Self, (i32, String)> {
        let mut asked = Self::default();
        let mut whole = false;
        while let [word, rest @ ..] = words {
            words = rest;
            match (*word, rest) {
                ("-a" | "-aq", _) => asked.all = true,
                ("-q", _) => {}
                ("--no-trunc", _) => whole = true,
                ("--format", [format, rest @ ..]) => {
                    asked.format = Some(format);
                    words = rest;
                }
                ("--filter", [filter, rest @ ..]) => {
                    match filter.split_once('=') {
                        Some(("label", label)) => {
                            asked.labels.extend(label.split_once('='));
                        }
                        Some(("network", network)) => drop(asked.networks.insert(network)),
                        Some(("volume", volume)) => drop(asked.volumes.insert(volume)),
                        _ => return fail(format!("{filter}: not understood")),
                    }
                    words = rest;
                }
                _ => return Err((UNKNOWN, format!("{word}: not understood"))),
            }
        }
        if !whole {
            return Err((UNKNOWN, "short ids: not understood".to_owned()));
        }
        Ok(asked)
    }

    /// Whether a container has all of the labels, and one of the networks and of the volumes.
    fn wants(&self, container: &Container) -> bool {
        let labels = container.labels();
        let has = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|v| v == value);
        let mut networks = container.details.networks.iter();
        // Docker stores no ID before the container is started.
        let has_id = container.status != "created";
        let is_on = networks.any(|(name, id)| {
            self.networks.contains(name.as_str()) || (has_id && self.networks.contains(id.as_str()))
        });
        let mut mounts = container.details.mounts.iter();
        let mounts = mounts.any(|(at, mount)| {
            let is_it =
                matches!(mount, Mount::Volume(name) if self.volumes.contains(name.as_str()));
            is_it || self.volumes.contains(at.as_str())
        });
        (self.all || container.is_up())
            && self.labels.iter().all(has)
            && (self.networks.is_empty() || is_on)
            && (self.volumes.is_empty() || mounts)
    }

    fn line(&self, id: &str, fields: &[(&str, &str)]) -> Ran {
        match self.format {
            Some(format) => render(format, fields),
            None => Ok(format!("{id}\n")),
        }
    }
}
