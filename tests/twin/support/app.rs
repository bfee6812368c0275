//! An application to deploy: a service of a tiny image that answers HTTP, with a volume and files.

use super::{Layout, Packing, Site, TinyImage, Twin};

/// The application `hello`; [`App::write`] writes its
/// files. Tests change the fields that they are about.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) version: String,
    /// The service's command.
    pub(crate) command: String,
    pub(crate) restart: String,
    /// `SETTING` in `app.env`, which the service gets.
    pub(crate) setting: String,
    /// The contents of `conf/greeting.txt`, which the service mounts.
    pub(crate) greeting: String,
    /// Further lines of the `[[compose]]` table.
    pub(crate) compose: String,
    /// Its line `health`; with short times, as most tests are not about it.
    pub(crate) health: String,
    /// Further lines of the manifest.
    pub(crate) more: String,
    /// Further lines of the `[[volumes]]` table.
    pub(crate) volume: String,
    /// Further lines of the compose file's services.
    pub(crate) services: String,
}

impl App {
    pub(crate) fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            command: "echo ready; exec httpd -f -p 9000 -h /".to_owned(),
            restart: "unless-stopped".to_owned(),
            setting: format!("setting-of-{version}"),
            greeting: format!("greeting-of-{version}"),
            compose: String::new(),
            health: "health = { settle = \"2s\" }".to_owned(),
            more: String::new(),
            volume: String::new(),
            services: String::new(),
        }
    }

    /// Returns its image.
    pub(crate) fn image(&self) -> TinyImage {
        TinyImage::new(&format!("hello:{}", self.version), &self.version)
    }

    /// Writes its image's archive and all other files.
    pub(crate) fn write(&self, site: &Site) {
        self.write_files(site);
        self.image().write(
            &site.path(&format!("dist/hello-{}.tar", self.version)),
            Layout::Docker,
            Packing::Plain,
        );
    }

    /// Writes all files but the image's archive.
    pub(crate) fn write_files(&self, site: &Site) {
        let Self {
            version,
            command,
            restart,
            setting,
            greeting,
            compose,
            health,
            more,
            volume,
            services,
        } = self;
        site.manifest(&format!(
            r#"[release]
name = "hello"
version = "{version}"

[[directories]]
path = "~/share/logs"
mode = "0775"

[[volumes]]
name = "share"
path = "~/share"
{volume}

[[images]]
name = "hello:${{release.version}}"
archive = "dist/hello-${{release.version}}.tar"

[[compose]]
name = "hello"
extra_files = ["app.env", "conf/"]
{health}
{compose}

{more}
"#
        ));
        let command = serde_json::to_string(&["sh", "-c", command]).unwrap();
        site.write(
            "docker-compose.yml",
            &format!(
                r#"version: "2.4"
services:
  web:
    image: hello:{version}
    command: {command}
    stop_signal: SIGKILL
    restart: "{restart}"
    env_file: app.env
    volumes:
      - share:/share
      - ./conf/greeting.txt:/greeting.txt:ro
{services}
volumes:
  share:
    external: true
"#
            ),
        );
        site.write("app.env", &format!("SETTING={setting}\n"));
        site.write("conf/greeting.txt", greeting);
    }

    /// Panics unless the service runs, answers, and was created from what is declared.
    #[track_caller]
    pub(crate) fn runs_on(&self, twin: &Twin) {
        let seen = twin.oem(
            "for try in 1 2 3 4 5; do timeout 20 docker exec hello_web_1 sh -c \
             'wget -qO- localhost:9000/version && echo && echo $SETTING && cat /greeting.txt' && exit; sleep 1; done; exit 1",
        );
        let Self {
            version,
            setting,
            greeting,
            ..
        } = self;
        assert_eq!(seen, format!("{version}\n{setting}\n{greeting}"));
    }
}
