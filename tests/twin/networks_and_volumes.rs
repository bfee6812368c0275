//! What docker-compose leaves unchanged: networks, mounts where an image declares a volume, restart
//! policies. With the docker-compose of both generations of firmware.

use crate::support::{App, Profile, Site, Twin};

/// The application and a service whose image has two volumes.
struct Data {
    twin: Twin,
    site: Site,
}

/// The attributes that vary.
#[derive(Debug, Clone, Copy)]
struct Release {
    /// Whether the application fails.
    fails: bool,
    /// The service's mounts.
    mounts: &'static str,
    /// The service's networks.
    on: &'static str,
    networks: &'static str,
}

const FIRST: Release = Release {
    fails: false,
    mounts: "",
    on: "",
    networks: "default: {ipam: {config: [{subnet: 10.201.1.0/24}]}}",
};

impl Data {
    fn up(profile: Profile) -> Self {
        let twin = Twin::of(profile);
        let site = Site::new(&twin);
        App::new("1.0.0").write(&site);
        site.apply();
        twin.oem(
            r"printf 'FROM hello:1.0.0\nVOLUME /data\nVOLUME /cache\n' | docker build -qt data:1 -
            mkdir bound",
        );
        Self { twin, site }
    }

    fn write(&self, release: Release) {
        let mut app = App::new("1.0.0");
        let Release {
            fails,
            mounts,
            on,
            networks,
        } = release;
        if fails {
            "echo no camera found; exit 3".clone_into(&mut app.command);
        }
        "[[images]]\nname = \"data:1\"\n".clone_into(&mut app.more);
        app.services = format!(
            "  data:\n    image: data:1\n    command: [\"sleep\", \"10000\"]\n    stop_signal: SIGKILL\n    mem_limit: 64m\n    cpus: 0.29\n    cpu_shares: 512\n    pids_limit: 100\n{mounts}{on}networks: {{{networks}}}\n"
        );
        app.write_files(&self.site);
    }

    fn apply(&self, release: Release) -> crate::support::Ran {
        self.write(release);
        let done = self.site.apply();
        self.site.nothing_to_do();
        done
    }

    #[track_caller]
    fn is_taken_back(&self, release: Release, to: Release) {
        self.write(Release {
            fails: true,
            ..release
        });
        let ran = self.site.run(&["apply", "--yes"]).exits(6);
        ran.says("the previous release was restored");
        self.write(to);
        self.site.nothing_to_do();
    }

    fn networks(&self) -> String {
        self.twin.oem(
            "for network in $(docker network ls -q --filter label=com.docker.compose.project=hello); do
                docker network inspect -f '{{.Name}} {{range .IPAM.Config}}{{.Subnet}}{{end}} {{.Options}} {{.Internal}}' $network
            done | sort",
        )
    }

    /// Returns the service's data at `/data` and in `/cache`.
    fn data(&self) -> String {
        self.twin.oem(
            "docker inspect -f '{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Type}}{{end}}{{end}}' hello_data_1
            docker exec hello_data_1 sh -c 'cat /data/file /cache/file 2>/dev/null; true'",
        )
    }
}

fn converges(profile: Profile) {
    let data = Data::up(profile);
    data.apply(FIRST);
    assert_eq!(data.networks(), "hello_default 10.201.1.0/24 map[] false");
    data.twin
        .oem("docker exec hello_data_1 sh -c 'echo precious >/data/file; echo kept >/cache/file'");

    // A release that fails undoes its changes to the network, the mount and the volume.
    let second = Release {
        mounts: "    volumes: [\"/home/oem/bound:/data\"]\n",
        networks: "default: {driver_opts: {com.docker.network.driver.mtu: \"1400\"}, ipam: {options: {plant: a}, config: [{subnet: 10.201.2.0/24}]}}",
        ..FIRST
    };
    data.is_taken_back(second, FIRST);
    assert_eq!(data.networks(), "hello_default 10.201.1.0/24 map[] false");
    assert_eq!(data.data(), "volume\nprecious\nkept");

    let volume = data.twin.oem("docker inspect -f '{{range .Mounts}}{{if eq .Destination \"/data\"}}{{.Name}}{{end}}{{end}}' hello_data_1");
    let done = data.apply(second);
    done.says("network hello_default: subnet: 10.201.1.0/24 -> 10.201.2.0/24");
    done.says(&format!("anonymous volume {}", &volume[..12]));
    assert_eq!(
        data.networks(),
        "hello_default 10.201.2.0/24 map[com.docker.network.driver.mtu:1400] false"
    );
    assert_eq!(data.data(), "bind\nkept");
    let left = format!("docker run --rm -v {volume}:/old data:1 cat /old/file");
    assert_eq!(data.twin.oem(&left), "precious");

    // A container that is removed with its volumes gets
    // them back if the release with fewer containers fails.
    let two = Release {
        on: "    scale: 2\n",
        ..second
    };
    data.apply(two);
    data.twin
        .oem("docker exec hello_data_2 sh -c 'echo of two >/cache/file'");
    data.is_taken_back(second, two);
    let of_two = data.twin.oem("docker exec hello_data_2 cat /cache/file");
    assert_eq!(
        (data.data(), of_two.as_str()),
        ("bind\nkept".to_owned(), "of two")
    );
    let done = data.apply(second);
    done.says("container hello_data_2 is removed, because its service now has 1")
        .says("[anonymous-volumes-left]");
    assert_eq!(data.data(), "bind\nkept");

    // The anonymous volume of a failing release that mounts
    // nothing there does not cover the restored mount.
    data.twin.oem("echo bound >bound/file");
    data.is_taken_back(
        Release {
            mounts: "",
            ..second
        },
        second,
    );
    assert_eq!(data.data(), "bind\nbound\nkept");

    // Another network, and the former one is removed.
    let third = Release {
        on: "    networks: [front]\n",
        networks: "front: {internal: true}",
        ..second
    };
    data.apply(third);
    let networks = data.networks();
    assert!(
        networks.starts_with("hello_default 172.") || networks.starts_with("hello_default 192."),
        "{networks}"
    );
    assert!(
        networks.contains("\nhello_front ") && networks.ends_with(" map[] true"),
        "{networks}"
    );
    data.apply(Release {
        on: "",
        networks: "",
        ..third
    });
    assert!(!data.networks().contains("front"), "{}", data.networks());

    let other = data.twin.oem(
        "docker ps -q --no-trunc --filter name=hello_web_1; docker update --restart=no hello_web_1",
    );
    assert_eq!(data.site.steps(), ["update compose.hello"]);
    data.site
        .apply()
        .says("container hello_web_1: restart policy: no -> unless-stopped");
    data.site.nothing_to_do();
    let same = data
        .twin
        .oem("docker ps -q --no-trunc --filter name=hello_web_1");
    assert!(other.starts_with(&same), "{other}");

    let expected = Release {
        on: "    networks: [cell]\n",
        networks: "cell: {external: true}",
        ..second
    };
    data.write(expected);
    let blocked = data.site.run(&["plan", "--exit-code"]).exits(9);
    blocked.says("docker network create cell");
    data.twin.oem("docker network create cell");
    data.apply(expected);
}

#[test]
fn networks_mounts_and_policies() {
    converges(Profile::Fw1_4_30);
}

#[test]
fn networks_mounts_and_policies_with_the_older_docker_compose() {
    converges(Profile::Fw1_1_30);
}

/// Only the record of the previous release knows of the
/// volume that an apply took away before it was cut off.
#[test]
fn an_anonymous_volume_is_restored_after_an_interrupted_apply() {
    let data = Data::up(Profile::Fw1_4_30);
    data.apply(FIRST);
    data.twin
        .oem("docker exec hello_data_1 sh -c 'echo precious >/data/file; echo kept >/cache/file'");
    data.write(Release {
        mounts: "    volumes: [\"/home/oem/bound:/data\"]\n",
        ..FIRST
    });
    let apply = data.site.start(&["apply", "--yes"]);
    // The apply now waits to see whether the containers stay up.
    data.twin.oem(
        "for _ in $(seq 600); do
            docker inspect -f '{{.State.Running}} {{.Mounts}}' hello_data_1 2>/dev/null |
                grep -q '^true .*/bound ' && exit
            sleep 0.1
        done; exit 1",
    );
    apply.signal("KILL");
    apply.finish().exits(137);
    assert_eq!(data.data(), "bind\nkept");
    data.is_taken_back(
        Release {
            on: "    hostname: other\n",
            mounts: "    volumes: [\"/home/oem/bound:/data\"]\n",
            ..FIRST
        },
        FIRST,
    );
    assert_eq!(data.data(), "volume\nprecious\nkept");
    data.twin.oem("[ ! -e ~/.o3r-deploy/unfinished ]");
}
