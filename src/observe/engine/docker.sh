# Prints what docker's client shows of the engine, volumes, images, containers and networks, for VPUs whose engine API
# cannot be used. Sections are framed by a nonce as in probe.sh.
# $1 nonce
main() {
    nonce=$1
    set -f
    LC_ALL=C
    export LC_ALL
    # The slow ones run in parallel; each waits in its pipe until it is read.
    section images images | {
        section containers containers | {
            section volumes volumes | {
                section networks networks | {
                    section docker docker_engine
                    cat
                }
                cat
            }
            cat
        }
        cat
    }
}

section() {
    name=$1
    shift
    printf '\n%s begin %s\n' "$nonce" "$name"
    # A subshell: variables of a probe must not leak.
    ("$@") </dev/null 2>&1
    code=$?
    printf '\n%s end %s %s\n' "$nonce" "$name" "$code"
}

docker_engine() {
    said=$(docker_info 2>&1) || {
        code=$?
        # Podman installed as docker answers in another form.
        case $(docker --version 2>/dev/null) in podman*) podman_info; return ;; esac
        # If the engine does not answer, the client reports an error of our template instead of the reason.
        case $said in *template:*) said=$(docker version --format '{{.Server.Version}}' 2>&1) ;; esac
        printf '%s\n' "$said"
        return "$code"
    }
    printf '%s\n' "$said"
}

docker_info() {
    docker info --format '{"version":{{json .ServerVersion}},"arch":{{json .Architecture}},"status":{{json .DriverStatus}},"root":{{json .DockerRootDir}},"runtimes":[{{range $name, $r := .Runtimes}}{{json $name}},{{end}}null]}'
}

podman_info() {
    docker info --format '{"version":{{json .Version.Version}},"arch":{{json .Host.Arch}},"podman":true,"root":{{json .Store.GraphRoot}},"runtimes":[{{json .Host.OCIRuntime.Name}}]}'
}

# An object that disappears between list and inspect is not listed the next time.
retried() {
    out=$("$@") || out=$("$@") || out=$("$@") || out=$("$@") || { code=$?; printf '%s\n' "$out"; return "$code"; }
    printf '%s\n' "$out"
}

volumes() { retried volumes_once; }
volumes_once() {
    ids=$(docker volume ls -q) || return
    [ -z "$ids" ] && return 0
    # shellcheck disable=SC2086 # one word an id; globbing is off
    docker volume inspect --format '{"name":{{json .Name}},"driver":{{json .Driver}},"options":{{json .Options}},{{with .Labels}}"owner":{{json (index . "o3r-deploy.release")}},"project":{{json (index . "com.docker.compose.project")}},"key":{{json (index . "com.docker.compose.volume")}},{{end}}"labels":[{{range $name, $_ := .Labels}}{{json $name}},{{end}}null]}' $ids
}

networks() { retried networks_once; }
networks_once() {
    ids=$(docker network ls -q --no-trunc) || return
    [ -z "$ids" ] && return 0
    # shellcheck disable=SC2086
    docker network inspect --format '{"id":{{json .ID}},"name":{{json .Name}},"driver":{{json .Driver}},"options":{{json .Options}},"ipam_driver":{{json .IPAM.Driver}},"ipam_options":{{json .IPAM.Options}},"pools":{{json .IPAM.Config}},"internal":{{json .Internal}},"attachable":{{json .Attachable}},"ipv6":{{json .EnableIPv6}},{{with .Labels}}"project":{{json (index . "com.docker.compose.project")}},"key":{{json (index . "com.docker.compose.network")}},{{end}}"":null}' $ids
}

images() {
    out=$(images_once 2>/dev/null) || out=$(images_once 2>/dev/null) || { each_image; return; }
    printf '%s\n' "$out"
}
images_once() {
    ids=$(docker image ls -aq --no-trunc) || return
    [ -z "$ids" ] && return 0
    # shellcheck disable=SC2086 # one word an id; globbing is off
    inspect_images $ids
}
inspect_images() {
    docker image inspect --format '{"id":{{json .ID}},"tags":{{json .RepoTags}},"layers":{{json .RootFS.Layers}},"arch":{{json .Architecture}},"os":{{json .Os}}}' "$@"
}
# Docker lists an image whose layer a power cut damaged, and cannot inspect it.
each_image() {
    for id in $(docker image ls -aq --no-trunc); do
        inspect_images "$id" 2>/dev/null && continue
        case $(docker image ls -aq --no-trunc) in *"$id"*) printf '{"id":"%s","unusable":true,"tags":[%s]}\n' "$id" "$(tags "$id")" ;; esac
    done
    # If it does not answer, with the reason.
    docker image ls -aq --no-trunc >/dev/null
}

# Prints the names of the image $1, as the elements of a JSON array.
tags() {
    docker image ls -a --no-trunc --format '{{.ID}} {{.Repository}}:{{.Tag}}' |
        sed -n "/<none>/d; s/^$1 \\(.*\\)/\"\\1\"/p" | tr '\n' ',' | sed 's/,$//'
}

containers() { retried containers_once; }
containers_once() {
    ids=$(docker container ls -aq --no-trunc) || return
    [ -z "$ids" ] && return 0
    # shellcheck disable=SC2086
    docker container inspect --format '{"pid":{{json .State.Pid}},"id":{{json .ID}},"name":{{json .Name}},"image":{{json .Image}},"image_ref":{{json .Config.Image}},"status":{{json .State.Status}},"exit_code":{{json .State.ExitCode}},"out_of_memory":{{json .State.OOMKilled}},"restarts":{{json .RestartCount}},"health":{{if .State.Health}}{{json .State.Health.Status}}{{else}}null{{end}},"restart_policy":{{json .HostConfig.RestartPolicy.Name}},"restart_limit":{{json .HostConfig.RestartPolicy.MaximumRetryCount}},"project":{{json (index .Config.Labels "com.docker.compose.project")}},"service":{{json (index .Config.Labels "com.docker.compose.service")}},"working_dir":{{json (index .Config.Labels "com.docker.compose.project.working_dir")}},"one_off":{{json (index .Config.Labels "com.docker.compose.oneoff")}},"number":{{json (index .Config.Labels "com.docker.compose.container-number")}},"config_hash":{{json (index .Config.Labels "com.docker.compose.config-hash")}},"config_files":{{json (index .Config.Labels "com.docker.compose.project.config_files")}},"mounts":[{{range $i, $m := .Mounts}}{{if $i}},{{end}}{"Type":{{json $m.Type}},"Name":{{json $m.Name}},"Source":{{json $m.Source}},"Destination":{{json $m.Destination}},"RW":{{json $m.RW}}}{{end}}],"networks":{{"{"}}{{range $name, $end := .NetworkSettings.Networks}}{{json $name}}:{"id":{{json $end.NetworkID}},"aliases":{{json $end.Aliases}}},{{end}}"":null},"network":{{json .HostConfig.NetworkMode}},"pid_mode":{{json .HostConfig.PidMode}},"ipc_mode":{{json .HostConfig.IpcMode}},"links":{{json .HostConfig.Links}},"limits":{"Memory":{{json .HostConfig.Memory}},"MemoryReservation":{{json .HostConfig.MemoryReservation}},"NanoCpus":{{json .HostConfig.NanoCPUs}},"CpuShares":{{json .HostConfig.CPUShares}},"CpuQuota":{{json .HostConfig.CPUQuota}},"CpusetCpus":{{json .HostConfig.CpusetCpus}},"PidsLimit":{{json .HostConfig.PidsLimit}}},"ports":{{json .HostConfig.PortBindings}}}' $ids
}

main "$@"
