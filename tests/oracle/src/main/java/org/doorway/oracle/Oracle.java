package org.doorway.oracle;

import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.context.support.IValidationSupport;
import ca.uhn.fhir.validation.FhirValidator;
import ca.uhn.fhir.validation.ResultSeverityEnum;
import ca.uhn.fhir.validation.SingleValidationMessage;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.hl7.fhir.common.hapi.validation.support.CommonCodeSystemsTerminologyService;
import org.hl7.fhir.common.hapi.validation.support.InMemoryTerminologyServerValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.PrePopulatedValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.SnapshotGeneratingValidationSupport;
import org.hl7.fhir.common.hapi.validation.support.ValidationSupportChain;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;
import org.hl7.fhir.r5.utils.validation.constants.BestPracticeWarningLevel;

/**
 * Reads lines "case TAB resource" on stdin and writes lines "case TAB errors TAB first error" on stdout. Arguments are
 * folders with the definitions of packages (JSON files), whose profiles then count.
 */
public final class Oracle {
  private Oracle() {}

  public static void main(String[] folders) throws Exception {
    FhirContext context = FhirContext.forR4();
    PrePopulatedValidationSupport packages = new PrePopulatedValidationSupport(context);
    for (String folder : folders) {
      load(context, packages, Path.of(folder));
    }
    ValidationSupportChain chain = new ValidationSupportChain(
        new DefaultProfileValidationSupport(context), packages, new CommonCodeSystemsTerminologyService(context),
        new InMemoryTerminologyServerValidationSupport(context), new SnapshotGeneratingValidationSupport(context));
    FhirInstanceValidator instance = new FhirInstanceValidator(chain);
    instance.setBestPracticeWarningLevel(BestPracticeWarningLevel.Ignore);
    instance.setErrorForUnknownProfiles(false);
    instance.setNoExtensibleWarnings(true);
    FhirValidator validator = context.newValidator().registerValidatorModule(instance);
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] parts = line.split("\t", 2);
      List<SingleValidationMessage> errors;
      try {
        errors = validator.validateWithResult(parts[1]).getMessages().stream()
            .filter(m -> m.getSeverity().compareTo(ResultSeverityEnum.ERROR) >= 0).toList();
      } catch (RuntimeException refused) {
        out.println(parts[0] + "\t1\t" + refused.getClass().getSimpleName());
        continue;
      }
      String first = errors.isEmpty() ? "" : errors.get(0).getLocationString() + ": " + errors.get(0).getMessage();
      out.println(parts[0] + "\t" + errors.size() + "\t" + first.replaceAll("\\s+", " "));
    }
  }

  private static void load(FhirContext context, PrePopulatedValidationSupport packages, Path folder) throws Exception {
    try (var files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".json")).sorted().toList()) {
        String name = file.getFileName().toString();
        if (name.startsWith("StructureDefinition-") || name.startsWith("ValueSet-") || name.startsWith("CodeSystem-")) {
          IBaseResource resource = context.newJsonParser().parseResource(Files.readString(file));
          packages.addResource(resource);
        }
      }
    }
  }
}
