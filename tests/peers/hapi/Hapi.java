// HAPI HL7v2 as a client of PORT and as a server on OWN: java -cp 'lib/*' Hapi.java PORT OWN; ends when stdin closes.
import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.app.Connection;
import ca.uhn.hl7v2.app.HL7Service;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.model.Segment;
import ca.uhn.hl7v2.model.v251.message.ADT_A01;
import ca.uhn.hl7v2.protocol.ReceivingApplication;
import java.util.Map;

public class Hapi {
  static String field(Message message, String segment, int number) throws HL7Exception {
    return ((Segment) message.get(segment)).getField(number, 0).encode();
  }

  public static void main(String[] arguments) throws Exception {
    HapiContext context = new DefaultHapiContext();
    HL7Service server = context.newServer(Integer.parseInt(arguments[1]), false);
    server.registerApplication("*", "*", new ReceivingApplication<Message>() {
      public Message processMessage(Message message, Map<String, Object> more) throws HL7Exception {
        System.out.println("got " + field(message, "MSH", 10));
        try {
          return message.generateACK();
        } catch (java.io.IOException error) {
          throw new HL7Exception(error);
        }
      }

      public boolean canProcess(Message message) {
        return true;
      }
    });
    server.startAndWait();
    Connection connection = context.newClient("127.0.0.1", Integer.parseInt(arguments[0]), false);
    for (int number = 0; number < 5; number++) {
      ADT_A01 message = new ADT_A01();
      message.initQuickstart("ADT", "A01", "P");
      message.getMSH().getMessageControlID().setValue("H" + number);
      message.getMSH().getSendingApplication().getNamespaceID().setValue("EHR");
      message.getMSH().getSendingFacility().getNamespaceID().setValue("WEST");
      message.getPID().getPatientIdentifierList(0).getIDNumber().setValue("7");
      message.getPID().getPatientName(0).getFamilyName().getSurname().setValue("Zqhapi");
      Message answer = connection.getInitiator().sendAndReceive(message);
      System.out.println("acknowledged " + field(answer, "MSA", 1) + " " + field(answer, "MSA", 2));
    }
    System.out.println("ready");
    System.in.read();
    connection.close();
    server.stopAndWait();
    context.close();
    System.exit(0);
  }
}
