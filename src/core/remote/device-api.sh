# Calls the device's API (XML-RPC) with the first HTTP client that is installed, and prints the response.
# $1 port  $2 method  $3… parameters: of `set` a text, of saveInit a list
main() {
    port=$1 method=$2
    shift 2
    case $method in
        set) params="<param><value><string>$(xml "$1")</string></value></param>" ;;
        saveInit)
            params=
            for pointer in "$@"; do params="$params<value><string>$(xml "$pointer")</string></value>"; done
            params="<param><value><array><data>$params</data></array></value></param>"
            ;;
        *) echo "no such call: $method" >&2; exit 1 ;;
    esac
    call="<?xml version=\"1.0\" encoding=\"UTF-8\"?><methodCall><methodName>$method</methodName><params>$params</params></methodCall>"
    answer=$(post) || { by_hand "$@"; exit 1; }
    case $answer in
        *"<fault>"*) ;;
        *"<methodResponse>"*) return ;;
    esac
    echo "the device's API refused $method:" >&2
    printf '%s\n' "${answer#*"<fault>"}" | sed 's/<[^>]*>/ /g; s/  */ /g' >&2
    exit 1
}

# Escapes text for XML; line ends and all other bytes are unchanged.
xml() {
    printf '%s' "$1" | sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'
}

# Posts the call and prints the response, possibly with its headers; fails if there is no client or no response.
post() {
    url=http://127.0.0.1:$port/api/rpc/v1/com.ifm.efector/
    if has curl; then
        printf '%s' "$call" | curl -sS --max-time 20 --noproxy '*' -H 'Content-Type: text/xml' --data-binary @- "$url"
    elif has python3; then
        printf '%s' "$call" | python3 -c 'import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
call = urllib.request.Request(sys.argv[1], sys.stdin.buffer.read(), {"Content-Type": "text/xml"})
sys.stdout.buffer.write(opener.open(call, timeout=20).read())' "$url"
    elif has wget; then
        # Without a time limit: with one, busybox 1.35 may crash.
        wget -q -Y off -O - --header 'Content-Type: text/xml' --post-data "$call" "$url" </dev/null
    elif has nc; then raw nc
    elif has busybox && busybox --list 2>/dev/null | grep -q -x nc; then raw busybox nc
    else
        echo "none of curl, python3, wget and nc is installed on the VPU" >&2
        return 1
    fi
}

has() { command -v "$1" >/dev/null 2>&1; }

# Over a plain TCP connection: reads until it is closed, or for 20 seconds.
raw() {
    length=$(printf '%s' "$call" | wc -c)
    printf 'POST /api/rpc/v1/com.ifm.efector/ HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s' \
        "$length" "$call" | "$@" -w 20 127.0.0.1 "$port"
}

by_hand() {
    echo "the device's API was not called; do it from another machine, with ifm3d or the ifmVisionAssistant: $method $*" >&2
}

main "$@"
