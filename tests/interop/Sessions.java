// Creates, reads and deletes a session with the HttpClient of the JDK and its default settings.
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.time.Duration;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

public class Sessions {
    public static void main(String[] arguments) throws Exception {
        String url = arguments[0], token = arguments[1], body = arguments[2];
        HttpRequest.BodyPublisher create = HttpRequest.BodyPublishers.ofString(body);
        String created = expect(201, request(url, token).POST(create));
        Matcher id = Pattern.compile("\"sessionId\":\"([^\"]*)\"").matcher(created);
        if (!id.find()) throw new AssertionError("no session id in " + created);
        String session = url + "/" + id.group(1);
        expect(200, request(session, token).GET());
        expect(204, request(session, token).DELETE());
    }

    // Each request has a client of its own, so each connection offers the upgrade.
    static String expect(int status, HttpRequest.Builder request) throws Exception {
        HttpResponse<String> answer = HttpClient.newHttpClient()
            .send(request.build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != status)
            throw new AssertionError("expected " + status + ", got " + answer.statusCode() + ": " + answer.body());
        return answer.body();
    }

    static HttpRequest.Builder request(String url, String token) {
        return HttpRequest.newBuilder(URI.create(url)).timeout(Duration.ofSeconds(20))
            .header("Authorization", "Bearer " + token).header("Content-Type", "application/json");
    }
}
